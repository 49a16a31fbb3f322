"""Section: a JSON object that knows which of its keys were read, and how BSMArt reads their values.

BSMArt hands many values to Python's ``eval``, so that ``"True"``, ``true`` and ``"1e3"`` occur for the same thing. Here
they are read as literals, and nothing else is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raydnnr.errors import ConfigError

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", "none", ""}
_INFINITE = {"inf", "infty", "infinity"}


class Section:
    """A JSON object at ``path`` (``Setup``, ``Codes.SPheno``)."""

    def __init__(self, path: str, table: object) -> None:
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: got {table!r:.60}, wants an object {{...}}")
        self.path = path
        self._table: dict[str, Any] = table
        self._read: set[str] = set()
        self._sections: dict[str, Section] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._table))

    def where(self, key: str) -> str:
        """A key with its path, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, default: Any = None) -> Any:
        """A value as JSON has it; the key counts as read."""
        self._read.add(key)
        return self._table.get(key, default)

    def section(self, key: str) -> Section:
        """An object, the same at each call; an empty one where the key is not there or holds nothing."""
        value = self.take(key)
        if key not in self._sections:
            self._sections[key] = Section(self.where(key), {} if value is None or value == [] else value)
        return self._sections[key]

    def text(self, key: str, default: str = "") -> str:
        """A text; numbers become one."""
        value = self.take(key, default)
        if isinstance(value, dict | list) or value is None:
            raise ConfigError(f"{self.where(key)}: got {value!r:.60}, wants a text")
        return str(value).strip()

    def boolean(self, key: str, default: bool = False) -> bool:
        """``"True"``, ``"False"``, ``true``, ``0`` ..."""
        value = self.take(key, default)
        word = str(value).strip().lower()
        if word not in _TRUE | _FALSE:
            raise ConfigError(f'{self.where(key)}: got {value!r:.60}, wants "True" or "False"')
        return word in _TRUE

    def number(self, key: str, default: float | None = None) -> float | None:
        """A number or a text that is one; None where there is none and no default."""
        value = self.take(key, default)
        return None if value is None else number(value, self.where(key))

    def integer(self, key: str, default: int | None = None) -> int | None:
        """A whole number; ``1e4`` is one."""
        value = self.take(key, default)
        return None if value is None else whole_number(value, self.where(key))

    def numbers(self, key: str) -> list[float]:
        """A list of numbers; empty where there is none. A number alone is a list of one."""
        value = self.take(key, [])
        values = value if isinstance(value, list) else [value]
        return [number(v, f"{self.where(key)}[{k}]") for k, v in enumerate(values)]

    def texts(self, key: str) -> list[str]:
        """A list of texts; a text alone is a list of one."""
        value = self.take(key, [])
        return [str(v) for v in (value if isinstance(value, list) else [value])]

    def rest(self) -> dict[str, Any]:
        """What was not read."""
        return {key: value for key, value in self._table.items() if key not in self._read}


def number(value: object, where: str) -> float:
    """A number as BSMArt takes it: also as a text, also ``"inf"``.

    Raises:
        ConfigError: Anything else.

    Example:
        >>> number("-infinity", "RANGE"), number("1e3", "RANGE")
        (-inf, 1000.0)
    """
    if isinstance(value, str):
        word = value.strip().lower()
        if word.lstrip("+-") in _INFINITE:
            return -math.inf if word.startswith("-") else math.inf
        try:
            return float(word)
        except ValueError:
            raise ConfigError(f"{where}: got {value!r:.60}, wants a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: got {value!r:.60}, wants a number")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{where}: got a whole number beyond 1.8e308") from None


def whole_number(value: object, where: str) -> int:
    """A whole number; ``1e4`` and ``"25"`` are some. Raises ConfigError for anything else."""
    found = number(value, where)
    if not math.isfinite(found) or found != int(found):
        raise ConfigError(f"{where}: got {found:g}, wants a whole number")
    return int(found)


def read_json(path: Path) -> Section:
    """A BSMArt input file.

    Raises:
        ConfigError: No such file, no JSON, or no BSMArt input.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON: {error.msg}; BSMArt reads strict JSON, without comments "
                          "and trailing commas") from None
    if not isinstance(content, Mapping) or "Setup" not in content:
        raise ConfigError(f"{path}: no object with the key 'Setup'; this is no BSMArt input")
    if "Codes" not in content:
        hint = "; it looks like xBIT's, which BSMArt does not read either" if "Included_Codes" in str(content) else ""
        raise ConfigError(f"{path}: no key 'Codes'{hint}")
    return Section("", content)
