"""Report: what became of each key of a BSMArt file that did not simply become a setting."""

from __future__ import annotations

import enum
import textwrap
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """What a finding asks of its reader, as a heading."""

    TO_DO = "to do before the scan means what it meant"
    DIFFERENT = "different from BSMArt"
    LEFT_OUT = "without counterpart"
    UNREAD = "never read by BSMArt, and not here"


@dataclass(frozen=True)
class Finding:
    """One remark on the key at ``where``."""

    kind: Kind
    where: str
    text: str


@dataclass
class Report:
    """Findings, in the order of the file."""

    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, where: str, text: str) -> None:
        """Add a remark, once."""
        finding = Finding(kind, where, text)
        if finding not in self.findings:
            self.findings.append(finding)

    def of(self, kind: Kind) -> list[Finding]:
        """The findings of a kind; keys with the same remark share one."""
        wheres: dict[str, list[str]] = {}
        for f in self.findings:
            if f.kind is kind:
                wheres.setdefault(f.text, []).append(f.where)
        return [Finding(kind, ", ".join(where), text) for text, where in wheres.items()]

    def lines(self, width: int = 110) -> list[str]:
        """For people: headings, and a paragraph for each finding."""
        lines = []
        for kind in Kind:
            found = self.of(kind)
            lines += [f"{kind.value}:"] if found else []
            for f in found:
                lines += textwrap.wrap(f"- {f.where}: {f.text}", width, subsequent_indent="  ",
                                       break_long_words=False, break_on_hyphens=False)
        return lines
