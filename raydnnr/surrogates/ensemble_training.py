"""Rows -> trained weights: folds, a linear trend, one-cycle AdamW with early stopping, and a last layer solved exactly.

Each row belongs to one fold, by a hash of its coordinates, and the member of that fold never trains on it. A hash, so
that a row stays where it is as the data grow: a warm start may not have seen what is held out from it now.

The network learns what a linear fit leaves over. Its last layer is linear in its weights, so when the descent is over
these are solved for: least squares of what is left, with the ridge that the held-out rows like best, or none of it.

Shapes: **N** rows, **M** members, **P** parameters, **T** targets, **O** = T + 1 outputs (the last one the logit of
being valid), **B** rows of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raydnnr.surrogates.ensemble_net import AdamW, BatchedNet

Array = NDArray[np.float64]

MIN_FOLDS = 5  # no member goes without more than a fifth of the rows
MAX_TARGET_WEIGHT = 10.0  # of a target that few rows have, over that of a target all rows have
TREND_RIDGE = 1e-5
POLISH_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
CHECKS = 20  # looks at the held-out rows during a training
WARM_UP = 0.1  # share of the steps in which the learning rate rises


@dataclass(frozen=True)
class Trend:
    """What the network is added to: ``y = [x, 1] @ coefficient + scale * network``, each member's own."""

    coefficient: Tensor  # (M, P + 1, T)
    scale: Tensor  # (M, 1, T)

    def to(self, device: torch.device) -> Trend:
        """The same on another device."""
        return Trend(self.coefficient.to(device), self.scale.to(device))

    def of(self, x_NP: Tensor) -> Tensor:
        """The linear part (M, N, T)."""
        return torch.baddbmm(self.coefficient[:, -1:], x_NP.expand(len(self.scale), -1, -1), self.coefficient[:, :-1])


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int

    def rate(self, step: int) -> float:
        """Learning rate of a step: up in a straight line, down along a cosine (one cycle, arXiv:1708.07120)."""
        done = step / self.steps
        if done < WARM_UP:
            return self.learning_rate * (step + 1) / (WARM_UP * self.steps + 1)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (done - WARM_UP) / (1.0 - WARM_UP)))


@dataclass(frozen=True)
class Rows:
    """All that is learned from, on the device.

    Attributes:
        x: Inputs (N, P) in [-1, 1].
        y: Targets and label (N, O), 0 where missing.
        w: Weights (N, O), 0 where missing; their mean over the rows is about 1 for each output.
        fold: Of each row (N,).
    """

    x: Tensor
    y: Tensor
    w: Tensor
    fold: Tensor

    @classmethod
    def of(cls, u: Array, y: Array, valid: NDArray[np.bool_], weights: Array, fold: NDArray[np.int64],
           device: torch.device) -> Rows:
        """From the unit cube."""
        targets = np.column_stack([y, valid.astype(np.float64)])
        present = np.isfinite(targets)
        w = present * (weights / weights.mean())[:, None]
        w /= np.maximum(w.mean(axis=0), 1.0 / MAX_TARGET_WEIGHT)
        parts = (2.0 * u - 1.0, np.where(present, targets, 0.0), w)
        x, y_NO, w_NO = (torch.from_numpy(part.astype(np.float32)).to(device) for part in parts)
        return cls(x, y_NO, w_NO, torch.from_numpy(fold).to(device))

    def held(self, members: int) -> Tensor:
        """Which rows each member must not see, (M, N)."""
        return self.fold == torch.arange(members, device=self.fold.device)[:, None]


def folds(u: Array, members: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Fold of each row, and the hash it comes from; equal rows share both."""
    bits = np.ascontiguousarray(u + 0.0).view(np.uint64)  # + 0.0: there is one zero
    h = np.full(len(u), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in bits.T:
        h = (h ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(29)
    h *= np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(32)
    return (h % np.uint64(max(members, MIN_FOLDS))).astype(np.int64), h


def fit_trend(rows: Rows, members: int) -> Trend:
    """Ridge regression of each target, for each member on the rows it may see; the scale is what that leaves over."""
    design = torch.cat([rows.x, torch.ones_like(rows.x[:, :1])], 1).double()
    y_NT = rows.y[:, :-1].double()
    coefficients, scales = [], []
    for held in rows.held(members):
        w_NT = rows.w[:, :-1].double() * ~held[:, None]
        _, solved = _solve_ridges(design, y_NT, w_NT, (TREND_RIDGE,))[0]
        left = (w_NT * (y_NT - design @ solved).square()).sum(0) / w_NT.sum(0).clamp_min(1e-12)
        coefficients.append(solved)
        scales.append(torch.where(left > 1e-20, left.sqrt(), 1.0)[None])
    return Trend(torch.stack(coefficients).float(), torch.stack(scales).float())


def polish(net: BatchedNet, rows: Rows, trend: Trend) -> None:
    """Solve for the last layer of every member and target; the logit's is left alone."""
    left_MNT = (rows.y[:, :-1] - trend.of(rows.x)) / trend.scale - net.predict(rows.x)[..., :-1]
    for m, held in enumerate(rows.held(net.members)):
        features = torch.cat([net.features(rows.x, m), torch.ones_like(rows.x[:, :1])], 1).double()
        left, w = left_MNT[m].double(), rows.w[:, :-1].double()
        best = torch.zeros(features.shape[1], left.shape[1], dtype=left.dtype, device=left.device)
        lowest = (w[held] * left[held].square()).sum(0)
        for _, change in _solve_ridges(features, left, w * ~held[:, None], POLISH_RIDGES):
            loss = (w[held] * (left[held] - features[held] @ change).square()).sum(0)
            best = torch.where(loss < lowest, change, best)
            lowest = torch.minimum(loss, lowest)
        net.weights[-1][m][:, :-1] += best[:-1].float()
        net.biases[-1][m][:, :-1] += best[-1:].float()


def _solve_ridges(design: Tensor, y_NT: Tensor, w_NT: Tensor, ridges: tuple[float, ...]) -> list[tuple[float, Tensor]]:
    """Weighted ridge regressions (columns, T), one for each ridge (in units of the total weight).

    Targets with equal weights, which is to say missing in the same rows, share one decomposition.
    """
    kinds, kind = torch.unique(w_NT, dim=1, return_inverse=True)
    solved = [y_NT.new_zeros(design.shape[1], y_NT.shape[1]) for _ in ridges]
    for g in range(kinds.shape[1]):
        w, mine = kinds[:, g:g + 1], kind == g
        total = float(w.sum())
        if not total:
            continue
        values, vectors = torch.linalg.eigh(design.T @ (w * design))
        rotated = vectors.T @ (design.T @ (w * y_NT[:, mine]))
        for ridge, into in zip(ridges, solved, strict=True):
            into[:, mine] = vectors @ (rotated / (values.clamp_min(0.0) + ridge * total)[:, None])
    return list(zip(ridges, solved, strict=True))


def train(net: BatchedNet, rows: Rows, trend: Trend, schedule: Schedule, generator: torch.Generator) -> Watch:
    """Change the weights of all members; afterwards each has those of its lowest held-out loss."""
    goals = _Goals(rows, trend, net.members)
    watch = Watch(net, goals, schedule.patience)
    optimizer = AdamW(net, schedule.weight_decay)
    n_seen = int((~goals.held).sum(1).min())
    size = max(1, min(schedule.batch_size, n_seen))
    pause = max(1, schedule.steps // CHECKS)
    order, start, step = goals.shuffled(n_seen, generator), 0, -1
    for step in range(schedule.steps if n_seen else 0):  # of one row, a member that must not see it learns nothing
        if start + size > n_seen:
            order, start = goals.shuffled(n_seen, generator), 0
        x, y, w = goals.take(order[:, start:start + size])
        start += size
        net.backward(x, goals.slope(net.forward(x), y, w))
        optimizer.step(schedule.rate(step))
        if (step + 1) % pause == 0 and watch.look() and 2 * step > schedule.steps:
            break  # not while the rate is high: then losses are, and fall with it
    watch.finish(step + 1)
    return watch


class Watch:
    """Held-out loss of each member, and the weights where it was lowest."""

    def __init__(self, net: BatchedNet, goals: _Goals, patience: int) -> None:
        self._net, self._goals, self._patience = net, goals, patience
        self._kept = net.flat.clone()
        self.loss = goals.held_loss(net)
        self._looks_since = torch.zeros_like(self.loss)
        self.steps = 0

    def look(self) -> bool:
        """Measure; true if no member has improved for long."""
        loss = self._goals.held_loss(self._net)
        better = ~(loss >= self.loss)  # without held-out rows the loss is NaN, and the latest weights are kept
        self._kept[better], self.loss = self._net.flat[better], torch.where(better, loss, self.loss)
        self._looks_since = torch.where(better, 0.0, self._looks_since + 1)
        return bool((self._looks_since >= self._patience).all())

    def finish(self, steps: int) -> None:
        """Give the net its best weights."""
        self.look()
        self._net.flat.copy_(self._kept)
        self.steps = steps


class _Goals:
    """What each member is to learn: the targets less its own trend, in units of its own scale."""

    def __init__(self, rows: Rows, trend: Trend, members: int) -> None:
        self.held, self._members = rows.held(members), members
        n, self._n_inputs = rows.x.shape
        left = (rows.y[:, :-1] - trend.of(rows.x)) / trend.scale
        label, w = rows.y[:, -1:].expand(members, -1, -1), rows.w.expand(members, -1, -1)
        self._table = torch.cat([rows.x.expand(members, -1, -1), left, label, w], 2).flatten(0, 1)
        self._first = torch.arange(members, device=rows.x.device)[:, None] * n
        self._n_outputs = rows.y.shape[1]
        n_held = max(1, int(self.held.sum(1).max()))
        order = (~self.held).to(torch.int8).argsort(dim=1, stable=True)[:, :n_held]
        self._check = self.take(order)
        self._check[2].mul_(torch.gather(self.held, 1, order)[..., None])

    def shuffled(self, n_seen: int, generator: torch.Generator) -> Tensor:
        """As many rows for each member of those it may see, in random order (M, n_seen)."""
        keys = torch.rand(self.held.shape, generator=generator).to(self.held.device)
        return keys.masked_fill_(self.held, 2.0).argsort(1)[:, :n_seen]

    def take(self, rows_MB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and weights of these rows."""
        taken = self._table.index_select(0, (rows_MB + self._first).flatten()).view(self._members, rows_MB.shape[1], -1)
        x, y, w = taken.split([self._n_inputs, self._n_outputs, self._n_outputs], 2)
        return x.contiguous(), y, w

    def slope(self, f_MBO: Tensor, y_MBO: Tensor, w_MBO: Tensor) -> Tensor:
        """Derivative by the outputs of the mean of: square error / T for the targets, cross entropy for the label."""
        n = f_MBO.shape[1]
        d = torch.sub(f_MBO, y_MBO)
        d[..., -1] = torch.sigmoid(f_MBO[..., -1]) - y_MBO[..., -1]
        d[..., :-1].mul_(2.0 / max(1, self._n_outputs - 1))
        return d.mul_(w_MBO).div_(n)

    def held_loss(self, net: BatchedNet) -> Tensor:
        """Loss on the rows held out of each member (M,); NaN where there are none."""
        x, y, w = self._check
        f = net.forward(x)
        square = (w * (f - y).square())[..., :-1].sum((1, 2)) / max(1, self._n_outputs - 1)
        cross = torch.nn.functional.softplus(f[..., -1]) - y[..., -1] * f[..., -1]
        return (square + (w[..., -1] * cross).sum(1)) / self.held.sum(1)
