"""The Ray actors: thin shells around `raydnnr.evaluator.Evaluator` and `raydnnr.trainer.Trainer`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.cloudpickle as pickle

from raydnnr.evaluation import Outcomes, Proposal, View
from raydnnr.evaluator import Batch, Evaluator, EvaluatorState
from raydnnr.plan import Plan
from raydnnr.tools.base import Toolchain


class Parcel:
    """A value on its way to an actor, which can import what the driver could: kinds of the user's own among it.

    Args:
        value: A plan or a toolchain.
    """

    def __init__(self, value: Any) -> None:
        self._path = [os.path.abspath(folder) for folder in sys.path]
        self._pickled = pickle.dumps(value)

    def open(self) -> Any:
        """The value."""
        sys.path.extend(folder for folder in self._path if folder not in sys.path)
        return pickle.loads(self._pickled)


@ray.remote
class EvaluatorActor:
    """The slots of one node. ``toolchain``: a parcel with a `Toolchain`."""

    def __init__(self, toolchain: Parcel, n_slots: int, scratch: str) -> None:
        opened: Toolchain = toolchain.open()
        self._evaluator = Evaluator(opened, n_slots, scratch)

    def exchange(self, batch: Batch | None, wait_s: float, gather_s: float,
                 low_water: int) -> tuple[list[Outcomes], EvaluatorState]:
        """Take points, give back what has finished: one call, so that nothing can be lost between two."""
        if batch is not None:
            self._evaluator.submit(batch)
        outcomes, state = self._evaluator.collect(wait_s, gather_s, low_water), self._evaluator.state()
        return joined(outcomes + self._evaluator.collect(0.0)), state  # with no slot busy, these are really all

    def forget_queued(self) -> None:
        """Drop what has not started."""
        self._evaluator.forget_queued()

    def pid(self) -> int:
        """The actor's process, for the fault drills and for people who debug."""
        return os.getpid()

    def close(self) -> None:
        """Kill what runs and remove the scratch directories."""
        self._evaluator.close()


def joined(outcomes: list[Outcomes]) -> list[Outcomes]:
    """The outcomes of one evaluator as one: the driver's work is per message, not per point."""
    if len(outcomes) < 2:
        return outcomes
    parts = zip(*((o.point_id, o.observables, o.status, o.attempts, o.seconds, o.finished) for o in outcomes),
                strict=True)
    point_id, observables, status, attempts, seconds, finished = (np.concatenate(part) for part in parts)
    reasons = [reason for o in outcomes for reason in o.reason]
    files = {k: v for o in outcomes for k, v in o.files.items()}
    times = [o.tool_seconds for o in outcomes if o.tool_seconds is not None]
    tool_seconds = np.concatenate(times) if len(times) == len(outcomes) else None
    return [Outcomes(point_id, observables, status, reasons, attempts, seconds, outcomes[0].host, finished, files,
                     tool_seconds)]


@ray.remote
class TrainerActor:
    """A `Trainer` on the node that has a GPU, if one has. Keeps the rows it was sent. ``plan``: a parcel."""

    def __init__(self, plan: Parcel, surrogate_dir: Path | None) -> None:
        from raydnnr.trainer import Trainer  # the only actor that may load torch

        opened: Plan = plan.open()
        self._trainer = Trainer(opened, surrogate_dir)
        self._rows: View | None = None

    def propose(self, new: View, iteration: int, n_points: int) -> Proposal:
        """Choose points from all rows sent so far and the new ones."""
        self._rows = new if self._rows is None else self._rows.extended(new)
        return self._trainer.propose(self._rows, iteration, n_points)

    def pid(self) -> int:
        """The actor's process, for the fault drills and for people who debug."""
        return os.getpid()
