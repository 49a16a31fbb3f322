"""Parameter space: named priors, and exact maps between the unit cube and physical parameters.

A prior is the density candidates are drawn from. ``from_unit`` maps a uniform number in [0, 1] to a value
(the inverse of the cumulative distribution), ``to_unit`` maps it back. Shapes: **N** points, **P** scanned parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.kinds import build, choose

Array = NDArray[np.float64]

MIN_PROBABILITY = 1e-9  # of a distribution between its cuts: with less, rounding leaves too few different values


class Prior(Protocol):
    """One parameter's prior. All methods work elementwise on arrays."""

    def from_unit(self, u: Array) -> Array:
        """Value at cumulative probability ``u`` in [0, 1]."""
        ...

    def to_unit(self, x: Array) -> Array:
        """Cumulative probability of ``x``; the inverse of `from_unit`."""
        ...

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether ``x`` has a place in the prior."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Interval:
    """A prior on ``[low, high]``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_interval(self.low, self.high, finite=True)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether ``x`` lies in ``[low, high]``."""
        return (x >= self.low) & (x <= self.high)


@dataclass(frozen=True, kw_only=True)
class Uniform(_Interval):
    """Constant density between ``low`` and ``high``.

    >>> Uniform(low=100.0, high=300.0).from_unit(np.array([0.0, 0.25])).tolist()
    [100.0, 150.0]
    """

    def from_unit(self, u: Array) -> Array:
        """``low + u (high - low)``."""
        return np.clip(self.low + u * (self.high - self.low), self.low, self.high)

    def to_unit(self, x: Array) -> Array:
        """``(x - low) / (high - low)``."""
        return (x - self.low) / (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Log(_Interval):
    """Constant density in ln x, between ``low > 0`` and ``high``.

    >>> Log(low=1.0, high=100.0).from_unit(np.array([0.5])).round(9).tolist()
    [10.0]
    """

    def __post_init__(self) -> None:
        if self.low <= 0:
            raise ConfigError(f"prior = 'log' needs low > 0, got {self.low:g}. Use prior = 'uniform', or scan the "
                              "absolute value and its sign separately (prior = 'symlog')")
        super().__post_init__()
        _check_ratio(self.low, self.high)

    def from_unit(self, u: Array) -> Array:
        """``low (high / low)^u``."""
        return np.clip(self.low * np.exp(u * math.log(self.high / self.low)), self.low, self.high)

    def to_unit(self, x: Array) -> Array:
        """``ln(x / low) / ln(high / low)``."""
        return np.log(x / self.low) / math.log(self.high / self.low)


class _BothSigns(_Interval):
    """Half the probability on ``[low, high]``, half on ``[-high, -low]``; u below 1/2 is negative."""

    def _magnitude(self) -> Uniform | Log:
        return Uniform(low=self.low, high=self.high)

    def from_unit(self, u: Array) -> Array:
        """Negative for u < 1/2, from ``-high`` to ``-low``; then positive, from ``low`` to ``high``."""
        u = np.asarray(u, dtype=np.float64)
        v = np.where(u < 0.5, 1.0 - 2.0 * u, 2.0 * u - 1.0)
        return np.where(u < 0.5, -1.0, 1.0) * self._magnitude().from_unit(v)

    def to_unit(self, x: Array) -> Array:
        """The inverse of `from_unit`."""
        v = self._magnitude().to_unit(np.abs(x))
        return np.where(np.asarray(x) < 0, 0.5 * (1.0 - v), 0.5 * (1.0 + v))

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether ``|x|`` lies in ``[low, high]``."""
        return (np.abs(x) >= self.low) & (np.abs(x) <= self.high)


@dataclass(frozen=True, kw_only=True)
class Symlog(_BothSigns):
    """Constant density in ln |x| with either sign; ``0 < low < |x| < high``.

    >>> Symlog(low=1.0, high=100.0).from_unit(np.array([0.0, 0.25, 0.75])).round(9).tolist()
    [-100.0, -10.0, 10.0]
    """

    def __post_init__(self) -> None:
        if self.low <= 0:
            raise ConfigError(f"prior = 'symlog' needs low > 0 (the smallest magnitude), got {self.low:g}")
        super().__post_init__()
        _check_ratio(self.low, self.high)

    def _magnitude(self) -> Uniform | Log:
        return Log(low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Symlinear(_BothSigns):
    """Constant density in |x| with either sign; ``0 <= low < |x| < high``.

    >>> Symlinear(low=1.0, high=3.0).from_unit(np.array([0.0, 0.25, 1.0])).tolist()
    [-3.0, -2.0, 3.0]
    """

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ConfigError(f"prior = 'symlinear' needs low >= 0 (the smallest magnitude), got {self.low:g}")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class _Distribution:
    """A standard distribution of ``z``, stretched, and cut to ``[low, high]`` exactly, through its cumulative."""

    def _standard(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """The cumulative distribution of z and its inverse."""
        raise AssertionError("every distribution has its own")

    def _z(self, x: Array) -> Array:
        raise AssertionError("every distribution has its own")

    def _x(self, z: Array) -> Array:
        raise AssertionError("every distribution has its own")

    def _bounds(self) -> tuple[float, float]:
        return getattr(self, "low"), getattr(self, "high")  # noqa: B009

    def _cut(self) -> tuple[float, float]:
        cumulative, _ = self._standard()
        low, high = cumulative(self._z(np.array(self._bounds())))
        _check_probability(high - low, *self._bounds())
        return float(low), float(high)

    def from_unit(self, u: Array) -> Array:
        """The quantile of the distribution cut to ``[low, high]``, whose ends stand for u = 0 and u = 1."""
        low, high = self._cut()
        tiny = np.finfo(np.float64).tiny
        p = np.clip(low + np.asarray(u) * (high - low), tiny, 1.0 - 2.0**-53)
        return np.clip(self._x(self._standard()[1](p)), *self._bounds())

    def to_unit(self, x: Array) -> Array:
        """The inverse of `from_unit`."""
        low, high = self._cut()
        return np.clip((self._standard()[0](self._z(np.asarray(x))) - low) / (high - low), 0.0, 1.0)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether ``x`` is finite and lies in ``[low, high]``."""
        low, high = self._bounds()
        return np.isfinite(x) & (x >= low) & (x <= high)


@dataclass(frozen=True, kw_only=True)
class Normal(_Distribution):
    """Gaussian of ``mean`` and standard deviation ``sigma``; ``low`` and ``high`` cut its tails."""

    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _check_distribution(self.mean, self.sigma, self.low, self.high)
        self._cut()

    def _standard(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        from scipy.special import ndtr, ndtri  # scipy costs a worker memory: loaded where it is used

        return ndtr, ndtri

    def _z(self, x: Array) -> Array:
        return (x - self.mean) / self.sigma

    def _x(self, z: Array) -> Array:
        return self.mean + self.sigma * z


@dataclass(frozen=True, kw_only=True)
class Lognormal(Normal):
    """``ln x`` is Gaussian of ``mean`` and standard deviation ``sigma`` (both of ln x); x > 0."""

    low: float = 0.0

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ConfigError(f"prior = 'lognormal' needs low >= 0, got {self.low:g}")
        super().__post_init__()

    def _z(self, x: Array) -> Array:
        with np.errstate(divide="ignore"):
            return (np.log(x) - self.mean) / self.sigma

    def _x(self, z: Array) -> Array:
        return np.exp(self.mean + self.sigma * z)


@dataclass(frozen=True, kw_only=True)
class Cauchy(_Distribution):
    """Lorentzian around ``mean`` with half width at half maximum ``sigma``."""

    mean: float
    sigma: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _check_distribution(self.mean, self.sigma, self.low, self.high)
        self._cut()

    def _standard(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        return lambda z: 0.5 + np.arctan(z) / np.pi, lambda p: np.tan(np.pi * (p - 0.5))

    def _z(self, x: Array) -> Array:
        return (x - self.mean) / self.sigma

    def _x(self, z: Array) -> Array:
        return self.mean + self.sigma * z


@dataclass(frozen=True, kw_only=True)
class Exponential(_Distribution):
    """``exp(-x / sigma) / sigma`` for ``x >= 0``; ``sigma`` is the mean of the uncut distribution."""

    sigma: float
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if self.low < 0:
            raise ConfigError(f"prior = 'exponential' needs low >= 0, got {self.low:g}")
        _check_distribution(0.0, self.sigma, self.low, self.high)
        self._cut()

    def _standard(self) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        return lambda z: -np.expm1(-z), lambda p: -np.log1p(-p)

    def _z(self, x: Array) -> Array:
        return x / self.sigma

    def _x(self, z: Array) -> Array:
        return z * self.sigma


@dataclass(frozen=True, kw_only=True)
class Sin(_Interval):
    """An angle in degrees with density proportional to its sine, as directions on a sphere have.

    >>> Sin().from_unit(np.array([0.5])).round(9).tolist()
    [90.0]
    """

    low: float = 0.0
    high: float = 180.0

    def __post_init__(self) -> None:
        if not (self.low >= 0 and self.high <= 180):
            raise ConfigError(f"prior = 'sin' is an angle between 0 and 180 degrees, got low = {self.low:g}, "
                              f"high = {self.high:g}")
        super().__post_init__()
        low, high = self._cosines()
        _check_probability((low - high) / 2, self.low, self.high)

    def _cosines(self) -> tuple[float, float]:
        return math.cos(math.radians(self.low)), math.cos(math.radians(self.high))

    def from_unit(self, u: Array) -> Array:
        """``arccos(cos low + u (cos high - cos low))``."""
        low, high = self._cosines()
        return np.clip(np.degrees(np.arccos(np.clip(low + u * (high - low), -1.0, 1.0))), self.low, self.high)

    def to_unit(self, x: Array) -> Array:
        """``(cos x - cos low) / (cos high - cos low)``."""
        low, high = self._cosines()
        return (np.cos(np.radians(x)) - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """Always ``value``: not scanned, but a column like the others."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"value must be finite, got {self.value}")

    def from_unit(self, u: Array) -> Array:
        """The value."""
        return np.full(np.shape(u), self.value)

    def to_unit(self, x: Array) -> Array:
        """1/2: there is nothing to tell apart."""
        return np.full(np.shape(x), 0.5)

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether ``x`` is the value."""
        return np.asarray(x) == self.value


def _check_interval(low: float, high: float, *, finite: bool) -> None:
    if math.isnan(low) or math.isnan(high) or (finite and not (math.isfinite(low) and math.isfinite(high))):
        raise ConfigError(f"low and high must be finite numbers, got low = {low:g}, high = {high:g}")
    if low > high:
        raise ConfigError(f"low = {low:g} is above high = {high:g}; swap them")
    if low == high:
        raise ConfigError(f"low and high are both {low:g}; for a fixed parameter write value = {low:g}")
    if finite and not math.isfinite(high - low):
        raise ConfigError(f"the range is too wide for a number to hold, from {low:g} to {high:g}; narrow it")


def _check_ratio(low: float, high: float) -> None:
    """For priors in ln x, which are made of ``ln(high / low)``."""
    if not 1 < high / low < math.inf:
        raise ConfigError(f"high / low = {high / low:g} must be above 1 and finite, got low = {low:g}, "
                          f"high = {high:g}; change the range")


def _check_probability(share: float, low: float, high: float) -> None:
    """``share``: of the uncut distribution, between its cuts."""
    if not share > MIN_PROBABILITY:
        raise ConfigError(f"hardly any probability ({share:.0e}) is left between low = {low:g} and high = {high:g}; "
                          "widen the range")


def _check_distribution(mean: float, sigma: float, low: float, high: float) -> None:
    if not math.isfinite(mean):
        raise ConfigError(f"mean must be finite, got {mean}")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ConfigError(f"sigma must be > 0 and finite, got {sigma}")
    _check_interval(low, high, finite=False)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A named number that the physics takes; ``unit`` and ``latex`` are for people and plots."""

    name: str
    prior: Prior
    unit: str = ""
    latex: str = ""

    @classmethod
    def of(cls, name: str, *, prior: str = "", unit: str = "", latex: str = "", **settings: object) -> Parameter:
        """A parameter in the words of a config.

        Args:
            name: Column name.
            prior: A word of `KINDS` or ``package.module:Class``; empty means ``uniform``, or ``fixed`` where a
                ``value`` is given.
            unit: Of the values, such as GeV.
            latex: Label for plots, without dollar signs.
            **settings: The fields of the prior.

        Raises:
            ConfigError: An unknown prior or setting, or a value the prior refuses.

        Example:
            >>> Parameter.of("tanb", low=2, high=60, prior="log").prior
            Log(low=2.0, high=60.0)
            >>> Parameter.of("sgnmu", value=1).prior
            Fixed(value=1.0)
        """
        where = f"parameters.{name}"
        kind = choose(prior or ("fixed" if "value" in settings else "uniform"), KINDS, f"{where}: prior")
        accepted = [*(f.name for f in fields(kind)), "prior", "unit", "latex"]
        for key in settings:
            if key not in accepted:
                raise ConfigError(f"{where}: no setting {key!r}; it accepts {', '.join(accepted)}."
                                  + did_you_mean(key, accepted))
        for key, value in (("unit", unit), ("latex", latex)):
            if not isinstance(value, str):
                raise ConfigError(f"{where}: {key}: got {value!r}, wants a text")
        made: Prior = build(kind, settings, where)
        for method in ("from_unit", "to_unit", "contains"):  # a class of the user's may lack one
            if not callable(getattr(made, method, None)):
                raise ConfigError(f"{where}: prior = {prior!r} has no {method}(); a prior needs from_unit, to_unit "
                                  "and contains")
        return cls(name=name, prior=made, unit=unit, latex=latex)


@dataclass(frozen=True)
class ParameterSpace:
    """All parameters of a scan, in the order of the configuration.

    >>> space = ParameterSpace((Parameter.of("m0", low=100, high=300), Parameter.of("sgnmu", value=1)))
    >>> space.from_unit_cube(np.array([[0.5]])).tolist()
    [[200.0]]
    """

    parameters: tuple[Parameter, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def free(self) -> tuple[Parameter, ...]:
        """Those that are scanned."""
        return tuple(p for p in self.parameters if not isinstance(p.prior, Fixed))

    @cached_property
    def scanned(self) -> tuple[str, ...]:
        """Names of the P scanned ones: the columns of ``x``."""
        return tuple(p.name for p in self.free)

    @property
    def n_params(self) -> int:
        """P, the number of scanned parameters."""
        return len(self.free)

    def from_unit_cube(self, u: Array) -> Array:
        """Points of the unit cube (N, P) to physical values (N, P)."""
        return self._map(u, [p.prior.from_unit for p in self.free])

    def to_unit_cube(self, x: Array) -> Array:
        """Physical values (N, P) to the unit cube (N, P)."""
        return self._map(x, [p.prior.to_unit for p in self.free])

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether every value of a point (N, P) has a place in its prior; shape (N,)."""
        inside = np.ones(len(x), dtype=bool)
        for k, p in enumerate(self.free):
            inside &= p.prior.contains(x[:, k])
        return inside

    def columns(self, x: Array) -> dict[str, Array]:
        """All parameters by name, the fixed ones too, each (N,), for points ``x`` (N, P)."""
        scanned = dict(zip(self.scanned, np.asarray(x).T, strict=True))
        return {p.name: scanned[p.name] if p.name in scanned else p.prior.from_unit(np.zeros(len(x)))
                for p in self.parameters}

    def _map(self, values: Array, maps: list[Callable[[Array], Array]]) -> Array:
        out = np.empty(np.shape(values), dtype=np.float64)
        for k, f in enumerate(maps):
            out[:, k] = f(values[:, k])
        return out


KINDS: dict[str, type] = {
    "uniform": Uniform, "log": Log, "symlog": Symlog, "symlinear": Symlinear, "normal": Normal, "lognormal": Lognormal,
    "cauchy": Cauchy, "exponential": Exponential, "sin": Sin, "fixed": Fixed,
}
