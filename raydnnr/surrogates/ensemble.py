"""Ensemble: points of the unit cube -> several targets and the probability of being valid, each with its uncertainty.

Five small networks are trained at once (`ensemble_net`), each without the fifth of the rows it is tested on
(`ensemble_training`); where they disagree, and by how much they miss what they have not seen, is the uncertainty
(`ensemble_calibration`; deep ensembles: arXiv:1612.01474).

Shapes: **N** rows, **C** candidates, **P** parameters, **T** targets, **M** members.
"""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raydnnr.errors import ConfigError
from raydnnr.evaluation import TrainingReport
from raydnnr.surrogates.ensemble_calibration import (
    Calibration,
    calibrate_logit,
    calibrate_spread,
    new_points,
    spread_ratio,
)
from raydnnr.surrogates.ensemble_net import BatchedNet, settled
from raydnnr.surrogates.ensemble_training import Rows, Schedule, Trend, fit_trend, folds, polish, train

Array = NDArray[np.float64]

ROWS_OF_STEPS = 1000  # up to which the number of steps does not depend on them
CANDIDATE_BLOCK = 16_384  # candidates whose predictions of all members are held at once


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Settings of an ensemble of networks.

    Attributes:
        members: Networks.
        neurons: Width of a hidden layer.
        layers: Hidden layers.
        steps: Steps of the optimizer for up to 1000 rows; for more they grow like the square root of the rows.
        max_steps: Steps at most, which bounds the time whatever the number of rows.
        batch_size: Rows of a step.
        learning_rate: The highest of the cycle.
        weight_decay: Of AdamW.
        patience: Looks at the held-out rows (20 in a training) without improvement of any member before the end.
        warm_fraction: Steps of a warm start, as a share of those of a cold one.
        warm_rate: Highest learning rate of a warm start, likewise.
    """

    members: int = 5
    neurons: int = 96
    layers: int = 2
    steps: int = 1200
    max_steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 0.01
    patience: int = 6
    warm_fraction: float = 0.5
    warm_rate: float = 0.5

    def __post_init__(self) -> None:
        for key in ("members", "neurons", "layers", "steps", "max_steps", "batch_size", "patience"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a whole number >= 1")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(f"learning_rate: got {self.learning_rate}; use a number > 0")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ConfigError(f"weight_decay: got {self.weight_decay}; use a number >= 0")
        for key in ("warm_fraction", "warm_rate"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"{key}: got {getattr(self, key)}; use a number above 0 and up to 1")

    def fit(self, u: Array, y: Array, valid: NDArray[np.bool_] | None, weights: Array, seed: int,
            start: EnsembleRegressor | None = None) -> EnsembleRegressor:
        """Train.

        Neither the order of the rows nor rows of weight 0 change the result (rows with equal points keep their order).

        Args:
            u: Points of the unit cube (N, P).
            y: Targets (N, T), about unit scale; NaN where one is missing, which then says nothing about the others.
            valid: Labels (N,) of the validity head; None if every row is valid.
            weights: Of the rows (N,), >= 0.
            seed: Of the first weights and the order of the batches; on the CPU the same seed gives the same bits.
            start: An ensemble of the same settings and shapes to go on from, with fewer steps; of other shapes it is
                not used.

        Raises:
            ValueError: Shapes that do not fit, or no row of positive weight.
        """
        began = time.monotonic()
        valid = np.ones(len(u), dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
        u, y, valid, weights, fold = _settle_rows(u, y, valid, weights, self.members)
        sizes = (u.shape[1], *[self.neurons] * self.layers, y.shape[1] + 1)
        with settled() as device:
            generator = torch.Generator().manual_seed(seed)
            rows = Rows.of(u, y, valid, weights, fold, device)
            warm = start is not None and start.sizes == sizes and len(start.flat) == self.members
            if warm and start is not None:
                net = BatchedNet(start.flat.to(device, copy=True), sizes)
                trend = start.trend.to(device)
            else:
                net = BatchedNet.drawn(self.members, sizes, generator, device)
                trend = fit_trend(rows, self.members)
            schedule = self.schedule(len(u), warm=warm)
            watch = train(net, rows, trend, schedule, generator)
            polish(net, rows, trend)
            parts = (net.flat.cpu(), trend.to(torch.device("cpu")), sizes)
        probes = spread_of(outputs(*parts, new_points(u, seed))[0])
        calibration, loss, held_loss = _calibrate(outputs(*parts, u), probes, y, valid, weights, fold)
        rate = math.nan if 0 < valid.sum() < len(valid) else float((valid.sum() + 1) / (len(valid) + 2))
        n_epochs = math.ceil(watch.steps * schedule.batch_size / len(u))
        report = TrainingReport(len(u), n_epochs, loss, held_loss, time.monotonic() - began, device.type)
        return EnsembleRegressor(*parts, calibration, rate, report)

    def schedule(self, n: int, *, warm: bool) -> Schedule:
        """Steps and rates for a number of rows."""
        steps = min(self.max_steps, math.ceil(self.steps * math.sqrt(max(1.0, n / ROWS_OF_STEPS))))
        rate = self.learning_rate
        if warm:
            steps, rate = math.ceil(self.warm_fraction * steps), self.warm_rate * rate
        return Schedule(steps, self.batch_size, rate, self.weight_decay, self.patience)


@dataclass(frozen=True)
class EnsembleRegressor:
    """A trained ensemble.

    Attributes:
        flat: Weights (M, K) of all members.
        trend: The linear part of each member.
        sizes: Inputs, hidden widths, outputs (the last one is the logit of being valid).
        calibration: From spread to standard deviation.
        valid_rate: The share of valid points where the rows had only one label; NaN where the head learned.
        report: Of the training; the losses are mean squared errors in the units of the targets.
    """

    flat: Tensor
    trend: Trend
    sizes: tuple[int, ...]
    calibration: Calibration
    valid_rate: float
    report: TrainingReport

    def members(self, u: Array) -> Array:
        """Targets by each member (M, C, T) for points of the unit cube (C, P)."""
        return self.outputs(u)[0]

    def moments(self, u: Array) -> tuple[Array, Array]:
        """Mean and standard deviation, (C, T) each: of the members, widened to what held-out rows showed."""
        return self.summary(u)[:2]

    def p_valid(self, u: Array) -> Array:
        """Probability (C,) that the physics accepts the point."""
        return self.summary(u)[2]

    def summary(self, u: Array) -> tuple[Array, Array, Array]:
        """Mean, standard deviation and probability of being valid in one pass over the candidates."""
        n_targets = self.sizes[-1] - 1
        mean, std, p = np.empty((len(u), n_targets)), np.empty((len(u), n_targets)), np.empty(len(u))
        for first in range(0, len(u), CANDIDATE_BLOCK):
            block = slice(first, first + CANDIDATE_BLOCK)
            targets, logits = self.outputs(u[block])
            mean[block] = targets.mean(axis=0)
            std[block] = self.calibration.std(spread_of(targets))
            p[block] = (1.0 / (1.0 + np.exp(-np.clip(self.calibration.temperature * logits, -700, 700)))).mean(axis=0)
        return mean, std, p if math.isnan(self.valid_rate) else np.full(len(u), self.valid_rate)

    def outputs(self, u: Array) -> tuple[Array, Array]:
        """Targets (M, C, T) and logits (M, C) by each member."""
        return outputs(self.flat, self.trend, self.sizes, u)

    def save(self, path: Path) -> None:
        """All of it, as tensors only."""
        path.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        report = self.report
        numbers = [self.calibration.temperature, self.valid_rate, report.n_points, report.epochs, report.loss,
                   report.validation_loss, report.seconds]
        state = {"flat": self.flat, "coefficient": self.trend.coefficient, "scale": self.trend.scale,
                 "sizes": torch.tensor(self.sizes), "numbers": torch.tensor(numbers, dtype=torch.float64),
                 "spread_scale": torch.from_numpy(self.calibration.scale),
                 "spread_floor": torch.from_numpy(self.calibration.floor)}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path) -> EnsembleRegressor:
        """What `save` wrote; nothing in the file is executed."""
        return cls.from_bytes(path.read_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> EnsembleRegressor:
        """From what `to_bytes` gave; nothing in it is executed."""
        state = torch.load(io.BytesIO(data), weights_only=True)
        temperature, valid_rate, n_points, epochs, loss, held_loss, seconds = state["numbers"].tolist()
        calibration = Calibration(state["spread_scale"].numpy(), state["spread_floor"].numpy(), temperature)
        report = TrainingReport(int(n_points), int(epochs), loss, held_loss, seconds)
        return cls(state["flat"], Trend(state["coefficient"], state["scale"]), tuple(state["sizes"].tolist()),
                   calibration, valid_rate, report)


def outputs(flat: Tensor, trend: Trend, sizes: tuple[int, ...], u: Array) -> tuple[Array, Array]:
    """Targets (M, C, T) and logits (M, C) of networks with their trends."""
    with settled() as device:
        x = torch.from_numpy((2.0 * np.asarray(u) - 1.0).astype(np.float32)).to(device)
        raw = BatchedNet(flat.to(device), sizes).predict(x)
        there = trend.to(device)
        targets = there.of(x) + there.scale * raw[..., :-1]
        return targets.cpu().numpy().astype(np.float64), raw[..., -1].cpu().numpy().astype(np.float64)


def spread_of(targets_MCT: Array) -> Array:
    """Standard deviation between the members (C, T); 0 if there is one."""
    return targets_MCT.std(axis=0, ddof=1) if len(targets_MCT) > 1 else np.zeros(targets_MCT.shape[1:])


def _settle_rows(u: Array, y: Array, valid: NDArray[np.bool_], weights: Array, members: int,
                 ) -> tuple[Array, Array, NDArray[np.bool_], Array, NDArray[np.int64]]:
    """Rows of positive weight in the order of their hashes, and their folds."""
    if u.ndim != 2 or y.ndim != 2 or not len(u) == len(y) == len(valid) == len(weights):
        raise ValueError(f"u (N, P), y (N, T), valid (N,) and weights (N,) do not fit: {u.shape}, {y.shape}, "
                         f"{valid.shape}, {weights.shape}")
    used = np.flatnonzero(weights > 0)
    if not len(used):
        raise ValueError("no row has a positive weight")
    fold, hashes = folds(u[used], members)
    order = np.argsort(hashes, kind="stable")
    rows = used[order]
    return u[rows], y[rows], valid[rows], weights[rows], fold[order]


def _calibrate(predicted: tuple[Array, Array], probes: Array, y: Array, valid: NDArray[np.bool_], weights: Array,
               fold: NDArray[np.int64]) -> tuple[Calibration, float, float]:
    """Uncertainties from the rows each member has not seen; mean squared errors of the mean and of held-out rows."""
    targets, logits = predicted
    held = np.flatnonzero(fold < len(targets))
    residual = y[held] - targets[fold[held], held]
    width = np.array([_width(column) for column in y.T])
    spread = spread_of(targets)
    spread *= spread_ratio(probes, spread)
    scale, floor = calibrate_spread(residual, spread[held], weights[held], len(targets), width)
    temperature = calibrate_logit(logits[fold[held], held], valid[held], weights[held])
    return (Calibration(scale, floor, temperature), _mean_square(y - targets.mean(axis=0), weights),
            _mean_square(residual, weights[held]))


def _width(column: Array) -> float:
    """Standard deviation of what is there; 1 of nothing."""
    there = column[np.isfinite(column)]
    return float(there.std()) if len(there) > 1 and there.std() > 0 else 1.0


def _mean_square(residual: Array, weights: Array) -> float:
    """Weighted, over what is there; NaN of nothing."""
    there = np.isfinite(residual)
    w = there * weights[:, None]
    return float((w * np.where(there, residual, 0.0) ** 2).sum() / w.sum()) if w.sum() > 0 else math.nan
