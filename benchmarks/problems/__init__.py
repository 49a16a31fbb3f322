"""Problems that a search is judged by, by name."""

from __future__ import annotations

from problems import analytic, own, shells
from problems.problem import Problem

PROBLEMS: dict[str, Problem] = {p.name: p for p in (*analytic.PROBLEMS, *shells.PROBLEMS, *own.PROBLEMS)}
