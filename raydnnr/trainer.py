"""Trainer: the search method of a plan at work on its data. Plain Python; the cluster makes an actor of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from raydnnr.atomic import write_atomically
from raydnnr.evaluation import Proposal, View
from raydnnr.plan import Plan

SURROGATE_FILE = "emulator.npz"


class Trainer:
    """Proposes points.

    Args:
        plan: What is scanned, and how.
        surrogate_dir: Where the latest surrogate and the report of its training go; None for nowhere.
    """

    def __init__(self, plan: Plan, surrogate_dir: Path | None = None) -> None:
        self._plan, self._dir = plan, surrogate_dir

    def propose(self, view: View, iteration: int, n_points: int) -> Proposal:
        """The points of an iteration. The same data give the same points, whoever asks."""
        proposal = self._plan.method.propose(self._plan.problem, view, iteration, n_points)
        if proposal.report and self._dir:
            text = json.dumps({"iteration": iteration, **vars(proposal.report)})
            write_atomically(self._dir / "training.json", text.encode())
        if proposal.surrogate and self._dir:
            proposal.surrogate.save(self._dir / SURROGATE_FILE)
        return replace(proposal, surrogate=None)
