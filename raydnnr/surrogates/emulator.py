"""Emulator: points of the unit cube -> observables, NLL, probability of being valid and of being good.

Every constrained observable has a model of its own (`gaussian_process`, or a target of the `ensemble` where that has
predicted new rows better); the NLL comes from the predicted observables through the exact likelihoods, never from a
model of its own, because sums of likelihoods are far less smooth than what they are made of.

Shapes: **N** rows, **C** candidates, **P** parameters, **K** observables, **T** constrained ones, **S** draws.
"""

from __future__ import annotations

import io
import pickle
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from raydnnr.atomic import write_atomically
from raydnnr.errors import RunDirectoryError
from raydnnr.likelihoods import Likelihood, Off, get_losses
from raydnnr.surrogates.ensemble import EnsembleRegressor
from raydnnr.surrogates.gaussian_process import GaussianProcess
from raydnnr.surrogates.kernels import Lengths
from raydnnr.surrogates.recalibration import UNCHANGED, Recalibration
from raydnnr.surrogates.targets import Scale

Array = NDArray[np.float64]

N_DRAWS = 32
STEP = 0.01  # of finite differences, as a share of a target's fine scale
MIN_LABEL_STD = 0.05


class Model(Protocol):
    """A surrogate of one target."""

    def mean(self, u: Array) -> Array:
        """Expected target (C,)."""
        ...

    def gradient(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its gradient (C, P)."""
        ...

    def moments(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its standard deviation (C,)."""
        ...


@dataclass(frozen=True)
class EnsembleTarget:
    """One target of an ensemble of networks, as a `Model`."""

    regressor: EnsembleRegressor
    index: int

    def mean(self, u: Array) -> Array:
        """Expected target (C,)."""
        return self.moments(u)[0]

    def gradient(self, u: Array) -> tuple[Array, Array]:
        """By central differences: a network is cheap enough for 2 P + 1 predictions."""
        n, n_params = u.shape
        h = 1e-3
        shifts = np.concatenate([np.zeros((1, n_params)), h * np.eye(n_params), -h * np.eye(n_params)])
        t = self.mean((u[None] + shifts[:, None]).reshape(-1, n_params)).reshape(len(shifts), n)
        return t[0], ((t[1 : n_params + 1] - t[n_params + 1 :]) / (2 * h)).T

    def moments(self, u: Array) -> tuple[Array, Array]:
        """Expected target (C,) and its standard deviation (C,)."""
        mean, std = self.regressor.moments(u)
        return mean[:, self.index], std[:, self.index]


@dataclass(frozen=True)
class Target:
    """A constrained observable: its column, its scale, its model, and the factor by which new rows showed that the
    model's uncertainty is to be widened.
    """

    column: int
    scale: Scale
    model: Model
    widen: float = 1.0


@dataclass(frozen=True)
class Geometry:
    """Losses around some points, as constraints see them.

    ``loss``, ``slope``, ``curvature`` (C, T): of each observable's loss, by its target; losses count from the lowest
    possible one. ``jacobian`` (C, T, P): of the targets. ``label`` (C,): above 0 where the point is taken as valid, and
    its gradient (C, P); None where every point is.
    """

    loss: Array
    slope: Array
    curvature: Array
    jacobian: Array
    label: Array | None
    label_gradient: Array | None

    def take(self, rows: NDArray[Any]) -> Geometry:
        """Of some points."""
        return Geometry(*(None if a is None else a[rows] for a in vars(self).values()))  # type: ignore[arg-type]

    def put(self, rows: NDArray[np.bool_], other: Geometry) -> Geometry:
        """With these rows from another one: rows of ``other`` where ``rows`` is true."""
        return Geometry(*(None if a is None else _put(a, rows, b)  # type: ignore[arg-type]
                          for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def _put(a: Array, rows: NDArray[np.bool_], b: Array) -> Array:
    new = a.copy()
    new[rows] = b
    return new


@dataclass(frozen=True)
class Prediction:
    """What the surrogate expects: observables with standard deviations (C, K), NaN for those without a likelihood; NLL
    with its 16 % and 84 % quantiles, probability of being valid, and of being good (C,).
    """

    observables: Array
    observables_std: Array
    nll: Array
    nll_low: Array
    nll_high: Array
    p_valid: Array
    p_good: Array


@dataclass(frozen=True)
class Emulator:
    """All models of a scan at one time.

    Args:
        likelihoods: By observable, in the order of the columns.
        threshold: A point is good when its NLL is below it.
        targets: The constrained observables.
        validity: Model of +1 (ok) and -1 (invalid or failed); None where all rows were ok.
        floors: The lowest loss of each target (T,): 0, or below where a likelihood can be so.
        recalibration: Of the probabilities of being good, by what became of new rows.
    """

    likelihoods: Mapping[str, Likelihood]
    threshold: float
    targets: Sequence[Target]
    validity: GaussianProcess | None
    floors: Array
    recalibration: Recalibration = UNCHANGED

    # ---- losses

    def nll(self, t: Array) -> Array:
        """NLL of targets (..., T)."""
        total: Array = self.losses(t).sum(axis=-1)
        return total

    @property
    def excess(self) -> float:
        """The threshold, for losses that count from the floors."""
        return self.threshold - float(self.floors.sum())

    def mean(self, u: Array) -> Array:
        """Expected targets (C, T)."""
        return np.stack([target.model.mean(u) for target in self.targets], axis=-1)

    def score(self, u: Array) -> Array:
        """NLL of the expected observables (C,); where a point is taken as invalid, more than the threshold."""
        nll = self.nll(self.mean(u))
        if self.validity is None:
            return nll
        label = self.validity.mean(u)
        worse = np.maximum(nll, self.threshold) + (1.0 + np.maximum(-label, 0.0)) * max(1.0, self.excess)
        return np.where(label < 0, worse, nll)

    def inside(self, u: Array) -> NDArray[np.bool_]:
        """Which points (C,) are taken for good, as by `score`: what one target puts outside is not asked of the others.
        """
        left = np.arange(len(u)) if self.validity is None else np.flatnonzero(self.validity.mean(u) >= 0)
        total = np.zeros(len(left))
        for k, bar in self._in_turn():
            total = total + self.loss(k, self.targets[k].model.mean(u[left]))
            left, total = left[total < bar], total[total < bar]
        within = np.zeros(len(u), dtype=bool)
        within[left] = True
        return within

    def geometry(self, u: Array) -> Geometry:
        """Losses, their derivatives, and the gradients of all targets at some points (C, P)."""
        pairs = [target.model.gradient(u) for target in self.targets]
        t = np.stack([value for value, _ in pairs], axis=-1)
        h = STEP * np.array([target.scale.fine for target in self.targets])
        loss, above, below = (self.losses(t + shift) - self.floors for shift in (0.0, h, -h))
        label = label_gradient = None
        if self.validity is not None:
            label, label_gradient = self.validity.gradient(u)
        return Geometry(np.maximum(loss, 0.0), (above - below) / (2 * h), (above - 2 * loss + below) / h**2,
                        np.stack([gradient for _, gradient in pairs], axis=1), label, label_gradient)

    # ---- probabilities

    def draws(self, u: Array, seed: int, n_draws: int = N_DRAWS) -> Array:
        """Targets (S, C, T) drawn from their predicted distributions; draw s lies in the same quantile everywhere."""
        out = np.empty((n_draws, len(u), len(self.targets)))
        for k, z in enumerate(self._quantiles(seed, n_draws)):
            out[:, :, k] = self._drawn(k, u, z)
        return out

    def p_valid(self, u: Array) -> Array:
        """Probability (C,) that a point is ok."""
        if self.validity is None:
            return np.ones(len(u))
        label, std = self.validity.moments(u)
        p: Array = ndtr(label / np.maximum(std, MIN_LABEL_STD))
        return p

    def p_good(self, u: Array, seed: int) -> Array:
        """Probability (C,) that a point is ok and its NLL is below the threshold: the share of `draws` where it is.

        Where one target excludes it in all draws, the others are not asked.
        """
        z, left, total = self._quantiles(seed, N_DRAWS), np.arange(len(u)), np.zeros((N_DRAWS, len(u)))
        for k, bar in self._in_turn():
            total = total + self.loss(k, self._drawn(k, u[left], z[k]))
            possible = (total < bar).any(axis=0)
            left, total = left[possible], total[:, possible]
        p = np.zeros(len(u))
        p[left] = (total < self.threshold).mean(axis=0) * self.p_valid(u[left])
        return self.recalibration.of(p)

    def predict(self, u: Array) -> Prediction:
        """Everything that is known of some points (C, P)."""
        n_columns = len(self.likelihoods)
        observables, std = np.full((len(u), n_columns), np.nan), np.full((len(u), n_columns), np.nan)
        t = self.draws(u, seed=0, n_draws=256)
        for k, target in enumerate(self.targets):
            o = target.scale.backward(t[:, :, k])
            observables[:, target.column] = target.scale.backward(target.model.mean(u))
            low, high = np.quantile(o, [0.158655, 0.841345], axis=0)
            std[:, target.column] = 0.5 * (high - low)
        nll = self.nll(t)
        low, middle, high = np.quantile(nll, [0.158655, 0.5, 0.841345], axis=0)
        p_valid = self.p_valid(u)
        p_good = self.recalibration.of((nll < self.threshold).mean(axis=0) * p_valid)
        return Prediction(observables, std, middle, low, high, p_valid, np.minimum(p_good, p_valid))

    def losses(self, t: Array) -> Array:
        """Losses (..., T) of targets (..., T), by the exact likelihoods."""
        out = np.empty(t.shape)
        for k in range(len(self.targets)):
            out[..., k] = self.loss(k, t[..., k])
        return out

    def loss(self, k: int, t: Array) -> Array:
        """Loss (...) of one target (...)."""
        target = self.targets[k]
        name, likelihood = list(self.likelihoods.items())[target.column]
        return get_losses({name: target.scale.backward(t)}, {name: likelihood})[name]

    def _quantiles(self, seed: int, n_draws: int) -> Array:
        """Standard normal numbers (T, S) of draws."""
        drawn: Array = ndtri(np.clip(qmc.Sobol(len(self.targets), seed=seed).random(n_draws), 1e-4, 1 - 1e-4)).T
        return drawn

    def _drawn(self, k: int, u: Array, z: Array) -> Array:
        """Draws (S, C) of one target."""
        mean, std = self.targets[k].model.moments(u)
        return mean + z[:, None] * (self.targets[k].widen * std)

    def _in_turn(self) -> Iterator[tuple[int, float]]:
        """The targets, those first that leave least room to good points, and what the NLL so far must be below, after
        each of them, for the whole to be below the threshold.
        """
        order = sorted(range(len(self.targets)), key=lambda k: self.targets[k].scale.fine)
        left = self.floors[order].sum() - np.cumsum(self.floors[order])
        return zip(order, (self.threshold - left).tolist(), strict=True)

    # ---- on disk

    def save(self, path: Path) -> None:
        """As arrays only."""
        arrays: dict[str, Any] = {"threshold": np.array(self.threshold), "floors": self.floors, "recalibration":
                                  np.array([self.recalibration.slope, self.recalibration.offset])}
        for k, target in enumerate(self.targets):
            s = target.scale
            arrays[f"t{k}"] = np.array([target.column, target.widen, s.center, s.width, s.shift, s.scale, s.fine])
            if isinstance(target.model, EnsembleTarget):
                arrays[f"t{k}_index"] = np.array(target.model.index)
                arrays["ensemble"] = np.frombuffer(target.model.regressor.to_bytes(), dtype=np.uint8)
            else:
                arrays |= _process_arrays(f"t{k}", target.model)  # type: ignore[arg-type]
        if self.validity is not None:
            arrays |= _process_arrays("v", self.validity)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path, likelihoods: Mapping[str, Likelihood]) -> Emulator:
        """What `save` wrote; nothing in the file is executed.

        Args:
            path: The file.
            likelihoods: Of the scan, by observable; they may have changed since.

        Raises:
            RunDirectoryError: The file cannot be read, or belongs to other observables.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            targets: list[Target] = []
            regressor = _networks(arrays["ensemble"]) if "ensemble" in arrays else None
            while f"t{len(targets)}" in arrays:
                key = f"t{len(targets)}"
                column, widen, *scale = arrays[key].tolist()
                model: Model = _process(arrays, key) if regressor is None or f"{key}_u" in arrays else EnsembleTarget(
                    regressor, int(arrays[f"{key}_index"]))
                targets.append(Target(int(column), Scale(*scale), model, widen))
            validity = _process(arrays, "v") if "v_u" in arrays else None
            if any(target.column >= len(likelihoods) for target in targets):
                raise ValueError("it has other observables than the scan")
            recalibration = Recalibration(*arrays["recalibration"].tolist())
            return cls(likelihoods, float(arrays["threshold"]), targets, validity, arrays["floors"], recalibration)
        except (OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, RuntimeError,
                zipfile.BadZipFile, tokenize.TokenError) as error:  # what rubbish makes of these readers
            raise RunDirectoryError(f"{path}: the surrogate cannot be read ({error}); run the scan again to make it "
                                    "anew") from error


def constrained(likelihoods: Mapping[str, Likelihood]) -> list[int]:
    """Columns of the observables that say something about a point."""
    return [k for k, likelihood in enumerate(likelihoods.values()) if not isinstance(likelihood, Off)]


def _process_arrays(key: str, process: GaussianProcess) -> dict[str, Array]:
    lengths = process.lengths
    arrays = {"u": process.u, "y": process.y, "length": lengths.length, "noise": np.array(lengths.noise),
              "smooth": np.array(lengths.smooth)}
    if lengths.single is not None:
        arrays |= {"single": lengths.single, "share": np.array(lengths.share)}
    if lengths.turn is not None and lengths.stretch is not None:
        arrays |= {"axes": lengths.turn, "stretch": lengths.stretch}
    return {f"{key}_{name}": array for name, array in arrays.items()}


def _process(arrays: Mapping[str, Array], key: str) -> GaussianProcess:
    if (f"{key}_axes" in arrays) != (f"{key}_stretch" in arrays):
        raise ValueError("its coordinates are incomplete")
    lengths = Lengths(arrays[f"{key}_length"], float(arrays[f"{key}_noise"]), bool(arrays.get(f"{key}_smooth", False)),
                      arrays.get(f"{key}_single"), float(arrays.get(f"{key}_share", 0.0)), arrays.get(f"{key}_axes"),
                      arrays.get(f"{key}_stretch"))
    return GaussianProcess(lengths, arrays[f"{key}_u"], arrays[f"{key}_y"])


def _networks(stored: Array) -> EnsembleRegressor:
    """Networks from their bytes; of damaged ones torch would say at length how to execute them all the same."""
    try:
        return EnsembleRegressor.from_bytes(stored.tobytes())
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError) as error:
        raise ValueError("its networks are damaged") from error
