"""Vacuum: whether ours is the deepest minimum of a potential that is written down, and how long it lives if not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from raydnnr.errors import ConfigError, InvalidPoint, did_you_mean
from raydnnr.evaluation import Array, Source
from raydnnr.expressions import Expression
from raydnnr.tools.base import Result, Tool
from raydnnr.tools.formulas import Formulas, formula_texts
from raydnnr.tools.landscape import LONGEST, deeper, is_minimum
from raydnnr.tools.slot import Slot

_KEYS = ("stable", "bounded", "depth", "n_deeper", "action")


@dataclass(frozen=True)
class VacuumSource:
    """``{key = "action"}``: a number of `Vacuum`."""

    tool: str
    key: str


@dataclass(frozen=True)
class VacuumResult(Result):
    """The numbers, by name."""

    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Vacuum(Tool):
    """Minima of a potential that are deeper than ours, and the decay into them.

    The potential is an expression of the fields, and of parameters, derived values and observables of earlier tools:
    tree level, or whatever you write down. Fields are real, with the kinetic term (∂φ)²/2. Minima are searched from
    many places at once; the decay is that along straight lines, the fastest counts. Read from it, by ``key``:

    - ``stable``: 1 where no minimum is deeper, else 0.
    - ``action``: Euclidean action of the decay, 1000 at most, and where the vacuum is stable: ours lives longer than
      the universe above about 440, and is gone below about 390 (arXiv:1812.04644).
    - ``depth``: of the deepest minimum below ours, GeV⁴ (negative; 0 where there is none), and ``at_<field>`` where it
      is, GeV; ``n_deeper``: how many there are, mirror images included.
    - ``bounded``: 0 where the potential falls below ours at the end of the ``reach``, else 1.

    A point is *invalid* where the fields given are no minimum of the potential (a tachyon), or not a number. Nothing
    makes it *failed*. A minimum in a narrow place may be missed: more ``starts`` find more. 20 to 100 ms per point.

    Attributes:
        potential: In GeV⁴.
        fields: Where our vacuum is, as expressions by the names of the fields, GeV.
        reach_gev: No field is looked at beyond.
        starts: From how many places minima are searched.

    References:
        Minima in the way of Vevacious, arXiv:1307.1477; the action of quartic potentials, hep-ph/9302321.
    """

    citations: ClassVar[tuple[str, ...]] = ("Adams:1993zs", "Hollik:2018wrr")

    potential: str
    fields: Mapping[str, str] = field(hash=False)
    reach_gev: float = 10_000.0
    starts: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            Expression(self.potential)
        except ConfigError as error:
            raise ConfigError(f"potential: {error}") from None
        object.__setattr__(self, "fields", formula_texts("fields", self.fields))
        if not self.fields:
            raise ConfigError('fields: none; name them with their values in our vacuum, { h = "246.22", s = "0" }')
        for name in self.fields:
            if name not in self._potential.names:
                raise ConfigError(f"fields.{name}: the potential does not depend on it."
                                  + did_you_mean(name, self._potential.names))
        self._need_positive("reach_gev", self.reach_gev)
        if self.starts < 1:
            raise ConfigError(f"starts: got {self.starts}; use a whole number >= 1")

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{key = "action"}``, by default the observable's own name."""
        accepted = (*_KEYS, *(f"at_{name}" for name in self.fields))
        where = f"observables.{observable}.from"
        for setting in settings:
            if setting not in ("tool", "key"):
                raise ConfigError(f"{where}: no setting {setting!r} for a vacuum; it accepts tool, key."
                                  + did_you_mean(setting, ("tool", "key")))
        key = str(settings.get("key", observable))
        if key not in accepted:
            raise ConfigError(f"{where}: there is no {key!r}; use one of {', '.join(accepted)}."
                              + did_you_mean(key, accepted))
        return VacuumSource(self.name, key)

    def check(self) -> list[str]:
        """It needs nothing that is not installed with it."""
        return []

    def prepare(self, names: Iterable[str]) -> None:
        """Check the names in the potential and in the fields."""
        known = set(names)
        if taken := sorted(known.intersection(self.fields)):
            raise ConfigError(f"tools.{self.name}.fields.{taken[0]}: a parameter or an observable has this name; give "
                              "the field another one")
        self._potential.check([*known, *self.fields], f"tools.{self.name}.potential")
        self._vacuum.check(known, f"tools.{self.name}")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those in the potential and in the fields."""
        return self._vacuum.uses(names) | set(names).intersection(self._potential.names)

    def fingerprint(self) -> Mapping[str, object]:
        """All that decides what is found."""
        return {"kind": "vacuum", "potential": self.potential, "fields": dict(self.fields),
                "search": [self.reach_gev, self.starts], **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> VacuumResult:
        """Search."""
        ours = np.array(list(self._vacuum.values(point, self.name).values()))

        def potential(places: Array) -> Array:
            columns = dict(zip(self.fields, places.T, strict=True))
            return np.broadcast_to(self._potential.evaluate({**point, **columns}), (len(places),))

        if not is_minimum(potential, ours):
            raise InvalidPoint(f"{self.name}: our vacuum is no minimum of the potential")
        found = deeper(potential, ours, max(self.reach_gev, 2 * float(np.abs(ours).max())), self.starts)
        n = len(found.depth)
        at = found.fields[0] if n else np.full(len(ours), math.nan)
        return VacuumResult({
            "stable": float(n == 0), "bounded": float(not found.at_edge.any()), "n_deeper": float(n),
            "depth": float(found.depth[0]) if n else 0.0, "action": float(found.action.min(initial=LONGEST)),
            **{f"at_{name}": float(value) for name, value in zip(self.fields, at, strict=True)},
        })

    def read(self, result: Result, source: Source) -> float:
        """A number; a place is NaN where there is none."""
        assert isinstance(result, VacuumResult) and isinstance(source, VacuumSource)
        return result.values[source.key]

    @cached_property
    def _potential(self) -> Expression:
        return Expression(self.potential)

    @cached_property
    def _vacuum(self) -> Formulas:
        return Formulas("fields", self.fields)
