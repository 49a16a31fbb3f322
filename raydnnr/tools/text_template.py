"""Text templates: any text with ``{{ expression }}`` in it -> the text of one point.

For input files that are not SLHA: parameter lists, JSON, XML, namelists. In a command, where braces have no other
meaning, an expression stands in single ones (`arguments`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from raydnnr.errors import ConfigError, ExpressionError, InvalidPoint
from raydnnr.expressions import Expression

_DOUBLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_SINGLE = re.compile(r"\{(.*?)\}")
_EXACT = 2.0**53  # beyond it, floats that are whole numbers are not exact ones


def fill(text: str, point: Mapping[str, float]) -> str:
    """A template for one point. Whole numbers are written without a point, all others with every digit.

    Raises:
        InvalidPoint: A value is not finite.

    Example:
        >>> fill('{"m0": {{ m0 }}, "n": {{ n + 1 }}}', {"m0": 0.1, "n": 2.0})
        '{"m0": 0.1, "n": 3}'
    """
    parts = _parts(text, double=True)
    return "".join(part if isinstance(part, str) else _text(part, point) for part in parts)


def fill_argument(word: str, point: Mapping[str, float]) -> str:
    """A word of a command for one point: ``--m0={m0}``. Raises like `fill`."""
    return "".join(part if isinstance(part, str) else _text(part, point) for part in _parts(word, double=False))


def expressions(text: str, *, double: bool = True) -> list[Expression]:
    """What stands in braces. Raises ConfigError where that is no expression."""
    return [part for part in _parts(text, double=double) if isinstance(part, Expression)]


def check(text: str, names: Iterable[str], where: str, *, double: bool = True) -> None:
    """Refuse expressions of unknown names.

    Raises:
        ConfigError: With the name, and the nearest known one.
    """
    known = list(names)
    for expression in expressions(text, double=double):
        expression.check(known, where)


@lru_cache(maxsize=256)
def _parts(text: str, *, double: bool) -> tuple[str | Expression, ...]:
    found: list[str | Expression] = []
    pieces = (_DOUBLE if double else _SINGLE).split(text)
    for k, piece in enumerate(pieces):
        if k % 2 == 0:
            found.append(piece)
            continue
        try:
            found.append(Expression(piece.strip()))
        except ExpressionError as error:
            line = "".join(pieces[:k]).count("\n") + 1
            raise ConfigError(f"line {line}: {error}") from None
    return tuple(found)


def _text(expression: Expression, point: Mapping[str, float]) -> str:
    value = float(expression.evaluate(point))
    if not math.isfinite(value):
        raise InvalidPoint(f"template: {expression.text} is {value}")
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
