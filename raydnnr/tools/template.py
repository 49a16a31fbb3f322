"""Templates: an SLHA input card with expressions in its value fields -> the card of one point.

In a data line (not a ``BLOCK`` line, not in a block whose name ends in ``INFO``, not in a comment), what follows the
leading integers is the value; in a ``DECAY`` line, what follows the number of the particle. It is looked at as one
text, or word by word if that is no expression:

- a number stays as it is;
- an expression over known names is replaced by its value (in ``MODSEL`` a whole number is written as an integer);
- an expression with an operator or a call and a name that is not known is an error;
- a lone word that is not known is an error if it is close to a known name, else it is text and stays;
- what is no expression stays, but is an error if it contains a known name or a call: it was meant to be one.

A text in quotes always stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from raydnnr.errors import ConfigError, ExpressionError, InvalidPoint, SlhaError, did_you_mean
from raydnnr.expressions import Expression
from raydnnr.slha import format_value, number

_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_WIDTH = re.compile(r"\s*DECAY\s+[+-]?\d+\s+", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+")
_OPERATORS = {"+", "-", "*", "/", "**", "//", "%"}
_SWITCHES = {"t", "f", "true", "false", "yes", "no", "on", "off", "none"}  # texts that codes take as values


@dataclass(frozen=True)
class Field:
    """A value field: its ``expression``, the line it stands in, and whether an integer is expected there."""

    expression: Expression
    line: int
    integer: bool

    def fill(self, point: Mapping[str, float]) -> str:
        """Its text for one point."""
        text = self.expression.text
        value = point[text] if text in point else float(self.expression.evaluate(point))
        if not math.isfinite(value):
            raise InvalidPoint(f"template: {text} is {value}")
        return str(int(value)) if self.integer and value.is_integer() else format_value(value)


@dataclass(frozen=True)
class Template:
    """Verbatim text and fields, in turn."""

    parts: tuple[str | Field, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names its fields use."""
        return frozenset(name for part in self.parts if isinstance(part, Field) for name in part.expression.names)

    def fill(self, point: Mapping[str, float]) -> str:
        """The card of one point.

        Raises:
            InvalidPoint: A field is not finite here.
        """
        return "".join(part if isinstance(part, str) else part.fill(point) for part in self.parts)


@lru_cache(maxsize=64)
def compile_template(text: str, names: frozenset[str], where: str) -> Template:
    """Find the fields.

    Args:
        text: The card.
        names: What is known of a point.
        where: File name, for messages.

    Raises:
        ConfigError: Names the line, the unknown name and the nearest known one.

    Example:
        >>> compile_template("Block MINPAR\\n 3  tanb # tan(beta)\\n", frozenset({"tanb"}), "card").fill({"tanb": 10.0})
        'Block MINPAR\\n 3  1.0000000000000000E+01 # tan(beta)\\n'
    """
    parts: list[str | Field] = []
    for line, block, value in _values(text):
        if block is None:
            parts.append(value)
        else:
            parts += _fields(value, names, block, line, where)
    return Template(tuple(parts))


def words(text: str) -> frozenset[str]:
    """Every word in the value fields of a card: the names it may use are among them."""
    return frozenset(word for _, block, value in _values(text) if block is not None for word in _WORD.findall(value))


def _values(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Cut a card into (line number, block, text); the block is None where the text is to be kept as it is."""
    block = ""
    for number_, line in enumerate(text.splitlines(keepends=True), start=1):
        body = line.partition("#")[0].rstrip()
        first = body.split()[:2]
        if first and first[0].upper() in {"BLOCK", "DECAY"}:
            block = first[1].upper() if first[0].upper() == "BLOCK" and len(first) > 1 else first[0].upper()
            if block == "DECAY" and (width := _WIDTH.match(body)):
                yield number_, None, line[: width.end()]
                yield number_, block, line[width.end() : len(body)]
                yield number_, None, line[len(body) :]
                continue
        elif first and not block.endswith("INFO"):
            start = _after_keys(body)
            yield number_, None, line[:start]
            yield number_, block, line[start : len(body)]
            yield number_, None, line[len(body) :]
            continue
        yield number_, None, line


def _after_keys(body: str) -> int:
    """Where the value begins: after the leading integers."""
    for match in re.finditer(r"\S+", body):
        if not _INTEGER.fullmatch(match[0]):
            return match.start()
    return len(body)


def _fields(value: str, names: frozenset[str], block: str, line: int, where: str) -> Iterator[str | Field]:
    """The fields in what stands after the keys of a data line."""
    at = f"{where}:{line}"
    whole = value.split()
    if len(whole) > 1 and whole[0] in _OPERATORS and names.intersection(_WORD.findall(value)):
        raise ConfigError(f"{at}: cannot tell a key from a number before {value!r}; write the value without blanks")
    if len(whole) > 1 and block != "DECAY" and (expression := _expression(value, names, at, alone=False)):
        yield Field(expression, line, block == "MODSEL")
        return
    for word in re.split(r"(\s+)", value):
        expression = _expression(word, names, at, alone=True) if word.strip() else None
        yield Field(expression, line, block == "MODSEL") if expression else word


def _expression(text: str, names: frozenset[str], at: str, *, alone: bool) -> Expression | None:
    """The expression that a text is; None if it is to stay. ``alone``: nothing else is left to try."""
    found = _WORD.findall(text)
    if not found or text[0] in "'\"" or _is_number(text):
        return None
    try:
        expression = Expression(text)
    except ExpressionError as error:
        if alone and ("(" in text or names.intersection(found)):
            raise ConfigError(f"{at}: {error}. A text that is no expression goes in quotes") from None
        return None
    lone = text.isidentifier()
    unknown = sorted(expression.names - names)
    if not unknown:
        return None if lone and not expression.names else expression
    near = "".join(did_you_mean(name, names) for name in unknown)
    if lone and (not near or text.lower() in _SWITCHES):
        return None
    raise ConfigError(f"{at}: {text!r} uses {', '.join(map(repr, unknown))}, which no parameter, derived value or "
                      f"earlier observable is called.{near}")


def _is_number(text: str) -> bool:
    try:
        number(text)
    except SlhaError:
        return False
    return True
