"""Where a number stands in SLHA output: the ``from`` table of an observable -> a source that reads it.

The fields of a source are the keys of its table, so that a plan can be written as a file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.slha import Slha

_KEYS = ("block", "key", "q", "width", "br")


@dataclass(frozen=True)
class SlhaEntry:
    """``{block = "MASS", key = [25]}``: an entry of a block, at the scale ``q`` (GeV) where there are several."""

    tool: str
    block: str
    key: tuple[int, ...]
    q: float | None = None

    def value(self, spectrum: Slha) -> float:
        """The number. Raises SlhaError if it is not there."""
        return spectrum.get(self.block, self.key, self.q)


@dataclass(frozen=True)
class SlhaWidth:
    """``{width = 25}``: the total width of a particle, GeV."""

    tool: str
    width: int

    def value(self, spectrum: Slha) -> float:
        """The number. Raises SlhaError if it is not there."""
        return spectrum.width(self.width)


@dataclass(frozen=True)
class SlhaBranching:
    """``{br = [25, 5, -5]}``: a branching ratio; 0 where the particle's table does not list the channel."""

    tool: str
    br: tuple[int, ...]

    def value(self, spectrum: Slha) -> float:
        """The number. Raises SlhaError if it is not there."""
        return spectrum.branching_ratio(self.br[0], self.br[1:])


def parse_address(settings: Mapping[str, object], tool: str, where: str) -> SlhaEntry | SlhaWidth | SlhaBranching:
    """The source that a ``from`` table means.

    Args:
        settings: The table, with or without its key ``tool``.
        tool: Name of the tool.
        where: Of the table, for messages.

    Raises:
        ConfigError: An unknown key, or keys that make no address.

    Example:
        >>> parse_address({"block": "mass", "key": [25]}, "spectrum", "observables.mh.from")
        SlhaEntry(tool='spectrum', block='MASS', key=(25,), q=None)
    """
    found = {key: value for key, value in settings.items() if key != "tool"}
    for key in found:
        if key not in _KEYS:
            raise ConfigError(f"{where}: no setting {key!r} for an SLHA tool; it accepts tool, {', '.join(_KEYS)}."
                              + did_you_mean(key, _KEYS))
    if found.keys() == {"width"}:
        return SlhaWidth(tool, *_whole_numbers(f"{where}.width", found["width"], 1, 1))
    if found.keys() == {"br"}:
        return SlhaBranching(tool, tuple(_whole_numbers(f"{where}.br", found["br"], 3, None)))
    block, q = found.get("block"), found.get("q")
    if not isinstance(block, str) or not found.keys() <= {"block", "key", "q"}:
        raise ConfigError(f'{where}: give block = "MASS" and key = [25], or width = 25, or br = [25, 5, -5]')
    if q is not None and (isinstance(q, bool) or not isinstance(q, int | float) or not q > 0):
        raise ConfigError(f"{where}.q: got {q!r}; use a scale in GeV")
    entry = _whole_numbers(f"{where}.key", found.get("key", []), 0, None)
    return SlhaEntry(tool, block.upper(), tuple(entry), None if q is None else float(q))


def _whole_numbers(where: str, value: object, fewest: int, most: int | None) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if len(whole) < len(values):
        raise ConfigError(f"{where}: got {value!r}; use whole numbers")
    if len(whole) < fewest or (most is not None and len(whole) > most):
        raise ConfigError(f"{where}: got {len(whole)} numbers; use {fewest if fewest == most else f'{fewest} or more'}")
    return whole
