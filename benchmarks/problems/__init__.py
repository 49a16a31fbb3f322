"""Problems that a search is judged by, and others for practice, by name."""

from __future__ import annotations

from problems import analytic, own, practice, shells
from problems.problem import Problem

PROBLEMS: dict[str, Problem] = {p.name: p for p in (*analytic.PROBLEMS, *shells.PROBLEMS, *own.PROBLEMS)}
# on these defaults are chosen; figures on them show what was aimed at, not how good a search is
PRACTICE: dict[str, Problem] = {p.name: p for p in practice.PROBLEMS}
ALL = PROBLEMS | PRACTICE
