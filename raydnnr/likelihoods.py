"""Likelihoods: an observable to a loss.

Every kind has a log-likelihood ``ln L(x)``; the loss of an observable is ``-ln L``, capped smoothly at `MAX_LOSS`
(`smooth_cap_loss`), and the NLL of a point is the sum of its losses. Constants are dropped: only differences matter.
The kinds and the cap are those of BSMArt (arXiv:2301.01154), whose ``VARIANCE`` is our ``sigma``: a standard deviation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError

Array = NDArray[np.float64]

MAX_LOSS = math.log(sys.float_info.max) + 1.0  # 710.78, M below: the loss of what could not be computed


class Likelihood(Protocol):
    """What one observable says about a point."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` for each value (N,), up to a constant; NaN where ``value`` is NaN."""
        ...


def smooth_cap_loss(x: Any) -> Array:
    r"""Loss of a log-likelihood, smoothly capped at `MAX_LOSS`.

    .. math:: \mathrm{loss} = M (1 - e^{x / M})

    Close to ``-x`` where ``|x|`` is small beside M, M at ``x = -inf``, always finite (``x`` is cut at 500 M above).

    Args:
        x: Log-likelihoods, any shape.

    Returns:
        Same shape; NaN where ``x`` is NaN.

    Example:
        >>> smooth_cap_loss(np.array([0.0, -1.0, -1e9])).round(4).tolist()
        [0.0, 0.9993, 710.7827]
    """
    return 0.0 - MAX_LOSS * np.expm1(np.minimum(np.asarray(x, dtype=np.float64) / MAX_LOSS, 500.0))


def get_losses(observables: Mapping[str, Any], likelihoods: Mapping[str, Likelihood]) -> dict[str, Array]:
    """One loss per observable: 0 inside the allowed bounds, above 0 outside.

    An observable that is not finite (because a condition failed before it was computed) costs `MAX_LOSS`, which is
    what makes hierarchical observables work; one whose likelihood is `Off` costs nothing.

    Args:
        observables: By name, arrays (N,) or numbers.
        likelihoods: By name; their order is that of the result.

    Returns:
        By name, arrays (N,), finite.

    Example:
        >>> losses = get_losses({"mh": [125.0, 128.0, math.nan]}, {"mh": Gauss(mean=125.0, sigma=3.0)})
        >>> losses["mh"].round(3).tolist()
        [0.0, 0.5, 710.783]
    """
    losses = {}
    for name, likelihood in likelihoods.items():
        value = np.asarray(observables[name], dtype=np.float64)
        if isinstance(likelihood, Off):
            losses[name] = np.zeros(value.shape)
            continue
        with np.errstate(all="ignore"):
            loss = smooth_cap_loss(likelihood.log_likelihood(value))
        losses[name] = np.where(np.isfinite(value) & np.isfinite(loss), loss, MAX_LOSS)
    return losses


class _Kind:
    """What all kinds share."""

    def log_likelihood(self, value: Array) -> Array:
        raise AssertionError("every kind has its own")

    def nll(self, value: Array) -> Array:
        """``-ln L`` (N,), dimensionless, not capped; NaN where ``value`` is NaN."""
        return -self.log_likelihood(value)


@dataclass(frozen=True, kw_only=True)
class _MeanSigma(_Kind):
    mean: float
    sigma: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ConfigError(f"mean must be finite, got {self.mean}")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ConfigError(f"sigma must be > 0 and finite, got {self.sigma:g}")

    def _pull(self, value: Array) -> Array:
        return (np.asarray(value, dtype=np.float64) - self.mean) / self.sigma


@dataclass(frozen=True, kw_only=True)
class Gauss(_MeanSigma):
    r"""Gaussian measurement ``mean ± sigma``, both in the observable's unit.

    .. math:: \ln L(x) = -(x - \mu)^2 / 2\sigma^2

    Example:
        A Higgs mass 3 GeV above 125.09 ± 3.0 GeV costs half a unit.

        >>> Gauss(mean=125.09, sigma=3.0).nll(np.array([125.09, 128.09])).tolist()
        [0.0, 0.5]
    """

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,), zero at the mean."""
        return -0.5 * self._pull(value) ** 2


@dataclass(frozen=True, kw_only=True)
class Upper(_MeanSigma):
    r"""Upper limit at ``mean``, softened over ``sigma``.

    .. math:: \ln L(x) = \ln \frac{1}{1 + e^{(x - \mu)/\sigma}}

    Example:
        >>> Upper(mean=10.0, sigma=1.0).nll(np.array([0.0, 10.0, 20.0])).round(4).tolist()
        [0.0, 0.6931, 10.0]
    """

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,): 0 far below the limit, ``-ln 2`` at it."""
        return _log_sigmoid(-self._pull(value))


@dataclass(frozen=True, kw_only=True)
class Lower(_MeanSigma):
    r"""Lower limit at ``mean``, softened over ``sigma``.

    .. math:: \ln L(x) = \ln \frac{1}{1 + e^{(\mu - x)/\sigma}}
    """

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,): 0 far above the limit, ``-ln 2`` at it."""
        return _log_sigmoid(self._pull(value))


@dataclass(frozen=True, kw_only=True)
class Bias(_MeanSigma):
    r"""A push towards large values, no measurement: ``mean`` sets the zero, ``sigma`` the strength.

    .. math:: \ln L(x) = \sigma \ln(x / \mu)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean == 0:
            raise ConfigError("mean must not be 0: the likelihood is sigma ln(x / mean)")

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,); NaN where x and the mean have different signs."""
        with np.errstate(all="ignore"):
            return self.sigma * np.log(np.asarray(value, dtype=np.float64) / self.mean)


@dataclass(frozen=True, kw_only=True)
class User(_Kind):
    r"""The observable is itself a likelihood or p-value: :math:`\ln L(x) = \ln x`; what is not above 0 is excluded."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,), ``-inf`` where ``x <= 0``."""
        return _log_or_excluded(value)


@dataclass(frozen=True, kw_only=True)
class Siguser(_Kind):
    r"""The observable is a score, positive where allowed: :math:`\ln L(x) = \ln \frac{1}{1 + e^{-x}}`."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,)."""
        return _log_sigmoid(np.asarray(value, dtype=np.float64))


@dataclass(frozen=True, kw_only=True)
class Expuser(_Kind):
    r"""The observable is itself a log-likelihood: :math:`\ln L(x) = x`."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,)."""
        return np.asarray(value, dtype=np.float64).copy()


@dataclass(frozen=True, kw_only=True)
class Minusexpuser(_Kind):
    r"""The observable is itself a negative log-likelihood: :math:`\ln L(x) = -x`."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,)."""
        return -np.asarray(value, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Loguser(_Kind):
    r"""The observable is minus a log-likelihood: :math:`\ln L(x) = -x`, as BSMArt reads it in its log mode."""

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,)."""
        return -np.asarray(value, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Cfunction(_Kind):
    r"""Distance to the interval ``[lower_bound, upper_bound]``, in the observable's unit (arXiv:2206.09223).

    .. math:: \ln L(x) = -\log_{10}\left(1 + \max(0, x - x_\mathrm{up}, x_\mathrm{low} - x)\right)

    The logarithm has base 10 and the distance no scale, as in BSMArt. Without bounds the interval is ``mean ± sigma``;
    one bound alone leaves the other side open. ``log_scaling``: value and bounds (all > 0) are replaced by their
    natural logarithms.

    Example:
        >>> Cfunction(lower_bound=100.0, upper_bound=140.0).nll(np.array([120.0, 149.0])).tolist()
        [0.0, 1.0]
    """

    lower_bound: float | None = None
    upper_bound: float | None = None
    mean: float | None = None
    sigma: float | None = None
    log_scaling: bool = False

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.sigma is None):
            raise ConfigError("mean and sigma come together")
        if self.mean is not None and not math.isfinite(self.mean):
            raise ConfigError(f"mean must be finite, got {self.mean}")
        if self.sigma is not None and not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ConfigError(f"sigma must be > 0 and finite, got {self.sigma:g}")
        if self.lower_bound is None and self.upper_bound is None and self.mean is None:
            raise ConfigError("give lower_bound, upper_bound or both, or mean and sigma")
        low, high = self.interval
        if not low <= high:
            raise ConfigError(f"lower_bound = {low:g} is above upper_bound = {high:g}; swap them")
        if low == math.inf or high == -math.inf:
            raise ConfigError(f"no number lies in [{low:g}, {high:g}]; leave out a bound that is open")
        if self.log_scaling and ((math.isfinite(low) and low <= 0) or high <= 0):
            raise ConfigError(f"log_scaling needs bounds > 0, got [{low:g}, {high:g}]")

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; infinite where open."""
        low, high = -math.inf, math.inf
        if self.mean is not None and self.sigma is not None:
            low, high = self.mean - self.sigma, self.mean + self.sigma
        return (low if self.lower_bound is None else self.lower_bound,
                high if self.upper_bound is None else self.upper_bound)

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,), zero inside; ``-inf`` for ``x <= 0`` with ``log_scaling``."""
        low, high = self.interval
        value = np.asarray(value, dtype=np.float64)
        if self.log_scaling:
            value = _log_or_excluded(value)
            low, high = (-math.inf if low <= 0 else math.log(low)), math.log(high)
        with np.errstate(invalid="ignore"):  # infinite minus infinite, where it is not used
            distance = np.where(value > high, value - high, np.where(value < low, low - value, 0.0))
        if self.log_scaling:
            distance = np.where(value == -np.inf, np.inf, distance)
        return np.where(np.isnan(value), np.nan, -np.log10(1.0 + distance))


@dataclass(frozen=True, kw_only=True)
class Log(_MeanSigma):
    r"""A measurement with tails that forgive.

    .. math:: \ln L(x) = -\ln\left(1 + (x - \mu)^2 / 2\sigma^2\right)

    This is the logarithm of the likelihood that BSMArt documents for ``LOG``; its code takes the Gaussian instead
    whenever it works with log-likelihoods. For that, use ``gauss``.
    """

    def log_likelihood(self, value: Array) -> Array:
        """``ln L`` (N,), zero at the mean."""
        return -np.log1p(0.5 * self._pull(value) ** 2)


@dataclass(frozen=True, kw_only=True)
class Off(_Kind):
    """Recorded, not used: costs nothing, whatever its value, and NaN does not make a point invalid."""

    def log_likelihood(self, value: Array) -> Array:
        """Zero, NaN where ``value`` is NaN."""
        return np.where(np.isnan(value), np.nan, 0.0)


def _log_sigmoid(z: Array) -> Array:
    """``ln 1 / (1 + e^-z)``; NaN where ``z`` is NaN, without numpy's warning."""
    with np.errstate(invalid="ignore"):
        return -np.logaddexp(0.0, -z)


def _log_or_excluded(value: Array) -> Array:
    value = np.asarray(value, dtype=np.float64)
    with np.errstate(all="ignore"):
        return np.where(np.isnan(value), np.nan, np.where(value > 0, np.log(np.maximum(value, 0.0)), -np.inf))


KINDS: dict[str, type] = {
    "gauss": Gauss, "upper": Upper, "lower": Lower, "bias": Bias, "user": User, "siguser": Siguser,
    "expuser": Expuser, "minusexpuser": Minusexpuser, "loguser": Loguser, "cfunction": Cfunction, "log": Log,
    "off": Off,
}
