"""Cards: BSMArt's SLHA template, and its ``Blocks``, as a template of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from raydnnr.bsmart.names import Names
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section
from raydnnr.errors import ExpressionError, SlhaError
from raydnnr.expressions import Expression
from raydnnr.slha import number

_INTEGER = re.compile(r"[+-]?\d+")


def translated(card: str, names: Names, report: Report, where: str) -> str:
    """A template with the expressions in its value fields in our words.

    BSMArt takes the last word of a line as its value and tries it as an expression; what fails stays a text.

    Example:
        >>> translated("Block MINPAR\\n 1 VARIABLE[0] # m0\\n 3 1e1\\n", Names(["m0"]), Report(), "card")
        'Block MINPAR\\n 1 m0 # m0\\n 3 1e1\\n'
    """
    return "".join(_line(line, block, names, report, f"{where}:{k}") for k, block, line in _lines(card))


def overlaid(card: str, blocks: Section, names: Names, report: Report) -> str:
    """A template with the entries of ``Blocks`` in it: in place of its own, or added."""
    lines = [line if line.endswith("\n") else line + "\n" for line in card.splitlines(keepends=True)]
    for block in blocks:
        entries = blocks.section(block)
        for key in entries:
            value = _expression(entries.text(key), names, report, entries.where(key))
            _put(lines, block.upper(), [k for k in re.split(r"[,\s]+", key.strip()) if k], value)
    return "".join(lines)


def _lines(card: str) -> Iterator[tuple[int, str, str]]:
    """Line number, block (empty: a heading), line."""
    block = ""
    for k, line in enumerate(card.splitlines(keepends=True), start=1):
        words = line.partition("#")[0].split()
        if words and words[0].upper() in {"BLOCK", "DECAY", "DECAY1L", "XSECTION"}:
            block = words[1].upper() if words[0].upper() == "BLOCK" and len(words) > 1 else words[0].upper()
            yield k, "", line
        else:
            yield k, block, line


def _line(line: str, block: str, names: Names, report: Report, where: str) -> str:
    body = line.partition("#")[0]
    words = body.split()
    if not words or block.endswith("INFO"):
        return line
    width = not block and words[0].upper() == "DECAY" and len(words) > 2
    if not block and not width:
        return line
    if block in {"DECAY", "XSECTION"}:  # values stand anywhere
        return "".join(_expression(word, names, report, where) if word.strip() else word
                       for word in re.split(r"(\s+)", body)) + line[len(body) :]
    value = words[2] if width else words[-1]
    start = body.rindex(value)
    new = _expression(value, names, report, where)
    return line if new == value else line[:start] + new + line[start + len(value) :]


def _expression(word: str, names: Names, report: Report, where: str) -> str:
    """The value field for a value of BSMArt's; a text that is no expression of known names stays."""
    if _is_number(word):
        return word
    try:
        new = names.expression(word)
    except ExpressionError:
        if "VARIABLE" in word or "math." in word:
            report.add(Kind.TO_DO, where, f"{word!r} is no expression here")
        return word
    known = Expression(new).names
    if not known <= set(names.new):
        if not word.isidentifier():
            report.add(Kind.TO_DO, where, f"{word!r} uses what no variable is called: BSMArt writes it as it stands; "
                       "put it in quotes, or mend it")
        return word
    return new.replace(" ", "") if not re.search(r"[A-Za-z_] [A-Za-z_]", new) else f"({new})"


def _put(lines: list[str], block: str, keys: list[str], value: str) -> None:
    """Set an entry in the lines of a card."""
    new, inside, last = f" {' '.join(keys)}  {value}\n", False, None
    for k, line in enumerate(lines):
        words = line.partition("#")[0].split()
        if words and words[0].upper() in {"BLOCK", "DECAY", "DECAY1L", "XSECTION"}:
            inside = words[0].upper() == "BLOCK" and len(words) > 1 and words[1].upper() == block
            last = k if inside else last
        elif inside and words:
            last = k
            if words[:-1] == keys and all(_INTEGER.fullmatch(w) for w in words[:-1]):
                lines[k] = new
                return
    if last is None:
        lines += [f"Block {block}\n", new]
    else:
        lines.insert(last + 1, new)


def _is_number(word: str) -> bool:
    try:
        number(word)
    except SlhaError:
        return False
    return True
