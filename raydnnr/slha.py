"""SLHA: the text that spectrum generators read and write (hep-ph/0311123, arXiv:0801.0045) <-> blocks and decays.

Tolerant of what real codes write, and never wrong in silence:

- ``BLOCK``/``Block``/``block``, tabs, CRLF, comments, bytes that are not ASCII;
- Fortran's numbers: ``1.0D+03``, and an exponent that has lost its E (``0.148232-104``);
- NaN, Infinity and ``****`` (a field too narrow) are NaN or infinity; any other text where a number is asked for is
  an `SlhaError`;
- a last line without its line end may have been cut, and half a number is still a number: unless a comment follows its
  fields, that line is not there;
- tables with a keyword of their own (``XSECTION``, and SARAH's ``DECAY1L``) are blocks of that name, whose first
  line is what follows the keyword: ``get("DECAY1L", [25])`` is a one-loop width;
- a block written several times at different scales ``Q=``: the first one is meant unless a scale is asked for; blocks
  of one name and scale, lines of one key, and channels of a decay that differ in a number that is asked for are an
  error;
- the last table of decays may have been cut between two lines: a channel is missing there, not absent, unless the
  others add up to one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from raydnnr.errors import SlhaError, did_you_mean

Key = tuple[int, ...]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", re.ASCII)
_BARE_EXPONENT = re.compile(r"([+-]?\d*\.\d*)([+-]\d{3})", re.ASCII)  # the letter goes where it has three digits
_NOT_A_NUMBER = re.compile(r"[+-]?(nan(\([^)]*\))?|\*+|1\.#(ind|qnan))", re.IGNORECASE)
_INFINITE = re.compile(r"([+-]?)(inf(inity)?|1\.#inf)", re.IGNORECASE)
_COMPLETE = 1e-3  # channels that add up to one but for this are all there are
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass
class Block:
    """One block: ``entries`` maps a key to its fields after the key, ``q`` is its scale in GeV if it has one."""

    name: str
    q: float | None = None
    lines: list[list[str]] = field(default_factory=list)

    def fields(self, key: Key) -> list[list[str]]:
        """What stands after ``key`` in each line that begins with it."""
        n = len(key)
        words = [str(k) for k in key]
        return [line[n:] for line in self.lines
                if len(line) > n and all(_same_index(a, b) for a, b in zip(line, words, strict=False))]


@dataclass
class Decay:
    """The decays of one particle: ``width`` in GeV, and lines of branching ratio, number of daughters, daughters."""

    pdg: int
    width: str
    lines: list[list[str]] = field(default_factory=list)

    def channels(self) -> list[tuple[str, tuple[int, ...]]]:
        """Branching ratio, as text, and sorted daughters of each line. Raises SlhaError for a line that is none."""
        found = []
        for line in self.lines:
            if len(line) < 3 or not all(_INTEGER.fullmatch(w) for w in line[1:]):
                raise SlhaError(f"DECAY {self.pdg}: {' '.join(line)[:60]!r} is not a branching ratio and its daughters")
            if int(line[1]) != len(line) - 2:
                raise SlhaError(f"DECAY {self.pdg}: {' '.join(line)[:60]!r} says {line[1]} daughters and has "
                                f"{len(line) - 2}")
            found.append((line[0], tuple(sorted(int(w) for w in line[2:]))))
        return found


@dataclass
class Slha:
    """An SLHA file.

    Example:
        >>> text = "Block MASS  # pole masses\\n  25  1.2509D+02  # h0\\nDECAY 25 4.1E-03\\n 5.8E-1 2 5 -5\\n"
        >>> spectrum = Slha.parse(text)
        >>> spectrum.get("MASS", [25]), spectrum.width(25), spectrum.branching_ratio(25, [-5, 5])
        (125.09, 0.0041, 0.58)
    """

    blocks: list[Block] = field(default_factory=list)
    decays: list[Decay] = field(default_factory=list)
    open_end: Decay | None = field(default=None, compare=False, repr=False)  # the table of decays the file ends in
    cut: str = field(default="", compare=False, repr=False)  # a last line that may have been cut, and is not there

    @classmethod
    def parse(cls, text: str | bytes) -> Slha:
        """Read a whole file.

        Args:
            text: Its content. Bytes that are not UTF-8 are read as Latin-1.

        Raises:
            SlhaError: No block or decay in it, or a line before the first block.
        """
        if isinstance(text, bytes):
            text = _decoded(text)
        spectrum = cls()
        where: Block | Decay | None = None
        *lines, last = text.replace("\r", "\n").split("\n")  # splitlines() would also cut at a stray byte 0x85 or 0x0c
        if "#" in last:
            lines.append(last)
        else:
            spectrum.cut = last.strip()[:60]
        for line in lines:
            content, _, comment = line.partition("#")
            words = content.split()
            if not words:
                continue
            first = words[0].upper()
            if first == "BLOCK":
                spectrum.blocks.append(where := _block(words))
            elif first == "DECAY":
                spectrum.decays.append(where := _decay(words))
            elif first == "XSECTION" or first.startswith("DECAY"):  # DECAY1L: not the tree-level decay before it
                where = Block(first, lines=[words[1:]])
                spectrum.blocks.append(where)
            elif where is None:
                raise SlhaError(f"not SLHA: {line.strip()[:60]!r} stands before the first block")
            else:
                if len(words) == 1 and isinstance(where, Block) and where.name == "SPINFO":
                    words += comment.split() or ["without a word"]  # SPheno says what is wrong in the comment
                where.lines.append(words)
        if where is None:
            raise SlhaError(f"not SLHA: no block and no decay in {len(text)} characters")
        spectrum.open_end = where if isinstance(where, Decay) else None
        return spectrum

    def has(self, block: str) -> bool:
        """Whether a block of this name, in any case, is there and has a line."""
        return any(b.name == block.upper() and b.lines for b in self.blocks)

    def get(self, block: str, key: Sequence[int], q: float | None = None) -> float:
        """A number.

        Args:
            block: Its name, in any case.
            key: Its indices; empty for a block that holds one number (``ALPHA``).
            q: Scale in GeV, where a block is there at several (to one part in a thousand).

        Returns:
            The number, NaN or infinite where the code wrote that.

        Raises:
            SlhaError: No such block, scale or entry, or a text that is no number.
        """
        where = f"block {block.upper()} entry {_show(key)}"
        first, *others = self._entries(block, tuple(key), q)
        if len(first) != 1:
            raise SlhaError(f"block {block.upper()} has {' '.join(first)[:60]!r} at {_show(key)}, not one number")
        value = number(first[0], where)
        for words in others:
            if words != first and (len(words) != 1 or not _same(number(words[0], where), value)):
                raise SlhaError(f"{where} is there twice: {first[0][:40]} and {' '.join(words)[:40]}")
        return value

    def text(self, block: str, key: Sequence[int], q: float | None = None) -> str:
        """What stands at ``key``, as text. Raises SlhaError where `get` does for a missing entry."""
        return " ".join(self._entries(block, tuple(key), q)[0])

    def width(self, pdg: int) -> float:
        """Total width of a particle, GeV. Raises SlhaError without its DECAY, or with two that differ."""
        where = f"DECAY {pdg}"
        return _agreed([number(decay.width, where) for decay in self._decays(pdg)], where)

    def branching_ratio(self, pdg: int, daughters: Iterable[int]) -> float:
        """Branching ratio into exactly these daughters, in any order; 0 where the particle's DECAY does not list them.

        Raises:
            SlhaError: The particle has no DECAY, or its table is broken: a line that is no channel or has another
                number of daughters than it says, a channel that is there twice with different numbers, or an end of the
                file where channels are missing.
        """
        wanted = tuple(sorted(daughters))
        where = f"DECAY {pdg} into {list(wanted)}"
        return _agreed([self._ratio(decay, wanted, where) for decay in self._decays(pdg)], where)

    def spinfo(self) -> tuple[list[str], list[str]]:
        """Warnings (entry 3) and errors (entry 4) of the spectrum calculator, from SPINFO."""
        return [" ".join(words) for words in self._spinfo(3)], [" ".join(words) for words in self._spinfo(4)]

    def dump(self) -> str:
        """The file again, without its comments; `parse` gives an equal value back."""
        out = []
        for block in self.blocks:
            scale = "" if block.q is None else f" Q= {block.q!r}"
            out += [f"Block {block.name}{scale}", *(f"  {'  '.join(line)}" for line in block.lines)]
        for decay in self.decays:
            out += [f"DECAY {decay.pdg} {decay.width}", *(f"  {'  '.join(line)}" for line in decay.lines)]
        return "\n".join(out) + "\n"

    def _spinfo(self, key: int) -> list[list[str]]:
        return [words for block in self.blocks if block.name == "SPINFO" for words in block.fields((key,))]

    def _entries(self, block: str, key: Key, q: float | None) -> list[list[str]]:
        """What stands at a key: the fields of every line that is meant, those of the first block of them first."""
        same = [b for b in self.blocks if b.name == block.upper()]
        if not same:
            names = sorted({b.name for b in self.blocks})
            raise SlhaError(f"no block {block.upper()}; there are {', '.join(names)[:200]}."
                            + did_you_mean(block.upper(), names) + self._about_the_end())
        if q is not None:
            same = [b for b in same if b.q is not None and math.isclose(b.q, q, rel_tol=1e-3)]
            if not same:
                raise SlhaError(f"block {block.upper()} is not there at Q = {q:g} GeV{self._about_the_end()}")
        found: list[list[str]] = []
        scale: float | None = None
        for b in same:
            lines = b.fields(key) if key else b.lines[:1]
            if lines and (not found or b.q == scale):
                found, scale = found + lines, b.q
        if not found:
            raise SlhaError(f"block {block.upper()} has no entry {_show(key)}{self._about_the_end()}")
        return found

    def _about_the_end(self) -> str:
        return f"; the file ends in the middle of a line: {self.cut!r}" if self.cut else ""

    def _decays(self, pdg: int) -> list[Decay]:
        """The tables of a particle: one, unless another code has added its own."""
        if found := [decay for decay in self.decays if decay.pdg == pdg]:
            return found
        raise SlhaError(f"no DECAY of {pdg}{self._about_the_end()}")

    def _ratio(self, decay: Decay, wanted: Key, where: str) -> float:
        """A branching ratio in one table."""
        channels = decay.channels()
        if ratios := [number(ratio, where) for ratio, found in channels if found == wanted]:
            return _agreed(ratios, where)
        if decay is self.open_end and number(decay.width, where) != 0:
            total = sum(number(ratio, where) for ratio, _ in channels)
            if not total > 1 - _COMPLETE:
                raise SlhaError(f"{where} is not there, but the file ends in that table, whose channels add up to "
                                f"{total:.4g}: it may have been cut")
        return 0.0


def number(word: str, where: str = "") -> float:
    """A number as codes write it.

    Raises:
        SlhaError: It is none.

    Example:
        >>> [number(w) for w in ("1.0D+03", "0.148232-104", ".5", "1E2")]
        [1000.0, 1.48232e-105, 0.5, 100.0]
        >>> number("1.2.3", "block MASS entry 25")
        Traceback (most recent call last):
        ...
        raydnnr.errors.SlhaError: block MASS entry 25: '1.2.3' is not a number
    """
    try:
        if word.isascii() and "_" not in word:
            return float(word)  # also nan and inf
    except ValueError:
        pass
    if _NUMBER.fullmatch(word):
        return float(word.replace("D", "E").replace("d", "e"))
    if (match := _BARE_EXPONENT.fullmatch(word)) and match[1].strip("+-."):
        return float(f"{match[1]}e{match[2]}")
    if _NOT_A_NUMBER.fullmatch(word):
        return math.nan
    if match := _INFINITE.fullmatch(word):
        return -math.inf if match[1] == "-" else math.inf
    raise SlhaError(f"{where}: {word[:40]!r} is not a number" if where else f"{word[:40]!r} is not a number")


def format_value(value: float) -> str:
    """A number as SLHA readers expect it, to full precision.

    >>> format_value(1500.0)
    '1.5000000000000000E+03'
    """
    return f"{value:.16E}"


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _block(words: list[str]) -> Block:
    if len(words) < 2:
        raise SlhaError("a BLOCK line without a name")
    rest = " ".join(words[2:])
    match = re.match(r"[Qq]\s*=\s*(\S+)", rest)
    return Block(words[1].upper(), number(match[1], f"scale of block {words[1]}") if match else None)


def _decay(words: list[str]) -> Decay:
    if len(words) < 3 or not _INTEGER.fullmatch(words[1]):
        raise SlhaError(f"{' '.join(words)[:60]!r}: a DECAY line is DECAY, a PDG number and a width")
    return Decay(int(words[1]), words[2])


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _agreed(values: Sequence[float], where: str) -> float:
    """The number that is there, once or several times."""
    for other in values[1:]:
        if not _same(values[0], other):
            raise SlhaError(f"{where} is there twice: {values[0]:.10g} and {other:.10g}")
    return values[0]


def _same_index(word: str, index: str) -> bool:
    return word == index or (word.lstrip("+").lstrip("0") or "0") == index


def _show(key: Sequence[int]) -> str:
    return "[" + ", ".join(str(k) for k in key) + "]"
