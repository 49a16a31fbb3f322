"""Where a number stands in a program's text output: the ``from`` table of an observable -> a source that reads it.

The fields of a source are the keys of its table, so that a plan can be written as a file again. A source never guesses:
where a text holds several numbers that could be meant, it says so.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import ClassVar, TypeVar

from raydnnr.errors import ConfigError, RaydnnrError, SlhaError, did_you_mean
from raydnnr.slha import number

T = TypeVar("T")


class NotThere(RaydnnrError):
    """The text does not hold the number that is asked for."""


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """``file``: in which file; None: the tool's output file."""

    WORD: ClassVar[str]  # the key that says which kind of source it is

    tool: str
    file: str | None = None

    def value(self, text: str) -> float:
        """The number.

        Raises:
            NotThere: It is not there, or not the only one that may be meant.
        """
        raise AssertionError("every kind of source reads")


@dataclass(frozen=True, kw_only=True)
class ByPattern(TextSource):
    r"""``{pattern = 'Omega h2 = (\S+)'}``: a regular expression of Python; the number is what its first group matches.

    ``^`` and ``$`` match at lines. ``match``: ``first`` or ``last``, where it matches several times; ``only``: then it
    is an error.
    """

    WORD: ClassVar[str] = "pattern"

    pattern: str
    match: str = "only"

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ConfigError(f"pattern: {self.pattern!r} is no regular expression: {error}") from None
        if not groups:
            raise ConfigError(f"pattern: {self.pattern!r} has no group; put the number in round brackets")
        if self.match not in ("only", "first", "last"):
            raise ConfigError(f"match: got {self.match!r}; use only, first or last")

    def value(self, text: str) -> float:
        found = [m[1] for m in re.finditer(self.pattern, text, re.MULTILINE)]
        if not found:
            raise NotThere(f"nothing matches {self.pattern!r}")
        if len(found) > 1 and self.match == "only":
            raise NotThere(f"{self.pattern!r} matches {len(found)} times; set match = 'first' or 'last'")
        word = found[-1 if self.match == "last" else 0]
        if word is None:
            raise NotThere(f"the group of {self.pattern!r} took no part in the match")
        return _number(word, f"what {self.pattern!r} matches")


@dataclass(frozen=True, kw_only=True)
class InJson(TextSource):
    """``{json = ["relic", 0, "omega"]}``: keys and indices (from 0) down a JSON document."""

    WORD: ClassVar[str] = "json"

    json: tuple[str | int, ...]

    def value(self, text: str) -> float:
        node = _json(text)
        for step in self.json:
            try:
                node = node[step]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                near = did_you_mean(str(step), node) if isinstance(node, dict) else ""
                raise NotThere(f"JSON has nothing at {step!r} of {list(self.json)}.{near}") from None
        if isinstance(node, bool) or not isinstance(node, int | float | str):
            raise NotThere(f"JSON has a {type(node).__name__} at {list(self.json)}, not a number")
        return _number(str(node), f"JSON at {list(self.json)}")


@dataclass(frozen=True, kw_only=True)
class InCsv(TextSource):
    """``{csv = "omega"}``: the column of this name; ``row``: of the data, from 1, or from the end: -1 is the last.

    Without ``row`` there must be only one. ``delimiter``: between fields.
    """

    WORD: ClassVar[str] = "csv"

    csv: str
    row: int | None = None
    delimiter: str = ","

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1:
            raise ConfigError(f"delimiter: got {self.delimiter!r}; use one character")
        if self.row == 0:
            raise ConfigError("row: got 0; rows count from 1, or from the end: -1 is the last")

    def value(self, text: str) -> float:
        header, rows = _csv(text, self.delimiter)
        if header.count(self.csv) != 1:
            near = did_you_mean(self.csv, header)
            raise NotThere(f"CSV has {header.count(self.csv)} columns named {self.csv!r}.{near}")
        if self.row is None and len(rows) != 1:
            raise NotThere(f"CSV has {len(rows)} rows; say which one is meant with row")
        row = _nth(rows, self.row or 1, "rows of CSV")
        if len(row) != len(header):
            raise NotThere(f"CSV has {len(row)} fields in a row, and {len(header)} in its header")
        return _number(row[header.index(self.csv)], f"CSV column {self.csv!r}")


@dataclass(frozen=True, kw_only=True)
class InColumn(TextSource):
    """``{line = 3, column = 2}``: a word, by its line and its place in the line, both from 1; -1 is the last.

    Lines without a word are not counted.
    """

    WORD: ClassVar[str] = "line"

    line: int
    column: int

    def __post_init__(self) -> None:
        for key in ("line", "column"):
            if getattr(self, key) == 0:
                raise ConfigError(f"{key}: got 0; it counts from 1, or from the end: -1 is the last")

    def value(self, text: str) -> float:
        line = _nth([words for row in text.splitlines() if (words := row.split())], self.line, "lines")
        word = _nth(line, self.column, f"words in line {self.line}")
        return _number(word, f"line {self.line}, column {self.column}")


SOURCES: tuple[type[TextSource], ...] = (ByPattern, InJson, InCsv, InColumn)
KEYS = tuple(dict.fromkeys(f.name for source in SOURCES for f in fields(source)))


def parse_address(settings: Mapping[str, object], tool: str, where: str) -> TextSource:
    """The source that a ``from`` table means.

    Args:
        settings: The table, with or without its key ``tool``.
        tool: Name of the tool.
        where: Of the table, for messages.

    Raises:
        ConfigError: An unknown key, or keys that make no address.

    Example:
        >>> parse_address({"json": ["omega"]}, "relic", "observables.omega.from")
        InJson(tool='relic', file=None, json=('omega',))
    """
    found = {key: value for key, value in settings.items() if key != "tool"}
    for key in found:
        if key not in KEYS:
            raise ConfigError(f"{where}: no setting {key!r} for a command; it accepts {', '.join(KEYS)}."
                              + did_you_mean(key, KEYS))
    chosen = [source for source in SOURCES if source.WORD in found]
    if len(chosen) != 1:
        raise ConfigError(f"{where}: give pattern = '...', json = [...], csv = '...', or line = 1 and column = 1")
    kind = chosen[0]
    accepted = {f.name: str(f.type) for f in fields(kind)}
    for key, value in found.items():
        if key not in accepted:
            raise ConfigError(f"{where}: {key!r} does not go with {kind.WORD!r}; that accepts "
                              f"{', '.join(k for k in accepted if k != 'tool')}")
        found[key] = _typed(value, accepted[key], f"{where}.{key}")
    if kind is InColumn and "column" not in found:
        raise ConfigError(f"{where}: 'line' goes with 'column'")
    try:
        return kind(tool=tool, **found)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def _typed(value: object, hint: str, where: str) -> object:
    """The value as the annotation of its field wants it."""
    if hint.startswith("tuple"):
        steps = [value] if isinstance(value, str | int) and not isinstance(value, bool) else value
        if isinstance(steps, list | tuple) and steps and all(type(s) in (str, int) for s in steps):
            return tuple(steps)
        raise ConfigError(f"{where}: got {value!r}; use a list of keys and indices")
    kind = int if hint.startswith("int") else str
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where}: got {value!r}; use {'a whole number' if kind is int else 'a text'}")
    return value


def _number(word: str, where: str) -> float:
    try:
        return number(word.strip(), where)
    except SlhaError as error:
        raise NotThere(str(error)) from None


def _nth(items: list[T], n: int, what: str) -> T:
    """The n-th item, from 1 or from the end."""
    try:
        return items[n - 1 if n > 0 else n]
    except IndexError:
        raise NotThere(f"there are {len(items)} {what}, number {n} is not among them") from None


@lru_cache(maxsize=8)
def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotThere(f"not JSON: {error}") from None


@lru_cache(maxsize=8)
def _csv(text: str, delimiter: str) -> tuple[list[str], list[list[str]]]:
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True) if row]
    except csv.Error as error:
        raise NotThere(f"not CSV: {error}") from None
    if not rows:
        raise NotThere("CSV without a header")
    return [name.strip() for name in rows[0]], rows[1:]
