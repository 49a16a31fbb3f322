"""Formulas: a table of names and expressions, as a setting of tools -> numbers for a point."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from raydnnr.errors import ConfigError, InvalidPoint
from raydnnr.expressions import Expression


def formula_texts(key: str, table: object) -> dict[str, str]:
    """A setting such as ``{ C9 = "c9 / 2", C10 = 1 }`` as checked texts by name.

    Args:
        key: The setting.
        table: What was given for it.

    Raises:
        ConfigError: It is no table, or a value is no expression.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"{key}: got {table!r}; use a table such as {{ name = 'x / 2' }}")
    texts = {}
    for name, text in table.items():
        try:
            texts[str(name)] = Expression(text if isinstance(text, str) else repr(text)).text
        except ConfigError as error:
            raise ConfigError(f"{key}.{name}: {error}") from None
    return texts


@dataclass(frozen=True)
class Formulas:
    """Expressions by name; ``key``: the setting that holds them.

    >>> Formulas("coefficients", {"C9": "c9 / 2"}).values({"c9": 3.0}, "flavio")
    {'C9': 1.5}
    """

    key: str
    texts: Mapping[str, str]

    def check(self, known: Iterable[str], where: str) -> None:
        """Raises ConfigError where one uses a name that is not known; ``where``: the tool, for the message."""
        names = list(known)
        for name, expression in self._expressions.items():
            expression.check(names, f"{where}.{self.key}.{name}")

    def uses(self, names: Iterable[str]) -> set[str]:
        """Those of ``names`` that occur."""
        return {name for e in self._expressions.values() for name in e.names}.intersection(names)

    def values(self, point: Mapping[str, float], who: str) -> dict[str, float]:
        """The numbers of a point. Raises InvalidPoint, in the name of ``who``, where one is not finite."""
        found = {name: float(e.evaluate(point)) for name, e in self._expressions.items()}
        for name, value in found.items():
            if not math.isfinite(value):
                raise InvalidPoint(f"{who}: {self.key}.{name} is {value}")
        return found

    @cached_property
    def _expressions(self) -> dict[str, Expression]:
        return {name: Expression(text) for name, text in self.texts.items()}
