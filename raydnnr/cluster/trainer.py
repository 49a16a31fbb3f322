"""A trainer that is a Ray actor, seen from the loop: asked without waiting, replaced when it dies."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from raydnnr.cluster.actors import Parcel, TrainerActor
from raydnnr.cluster.patience import within
from raydnnr.errors import RaydnnrError
from raydnnr.evaluation import Proposal, View
from raydnnr.plan import Plan

log = logging.getLogger(__name__)

MAX_DEATHS = 5  # of one training, before the scan gives up


class RemoteTrainer:
    """Sends a trainer actor the rows it has not seen, and starts another one when it dies.

    A training that died is repeated from the same rows: it gives the same points.

    Args:
        plan: What to scan.
        surrogate_dir: Where the surrogate is saved, on a file system the actor's node sees.
        num_gpus: GPUs the actor asks for; 0 where the cluster has none, so that it never waits for one.
    """

    def __init__(self, plan: Plan, surrogate_dir: Path | None, num_gpus: float) -> None:
        self._plan, self._surrogate_dir, self._num_gpus = plan, surrogate_dir, num_gpus
        self._deaths = self._n_sent = self._n_started = 0
        self._question: tuple[View, int, int] | None = None
        self._answer: ray.ObjectRef[Proposal] | None = None
        self._start()

    @property
    def actor(self) -> Any:
        """The Ray handle of the present actor."""
        return self._actor

    def request(self, view: View, iteration: int, n_points: int) -> None:
        """Ask for the points of an iteration; returns at once."""
        self._question = (view, iteration, n_points)
        self._answer = self._actor.propose.remote(view.rows(self._n_sent), iteration, n_points)
        self._n_sent = len(view.point_id)

    def proposal(self) -> Proposal | None:
        """The points asked for, once they are there.

        Raises:
            RaydnnrError: The training raised an exception, or its actor died `MAX_DEATHS` times over it.
        """
        if self._answer is None or not ray.wait([self._answer], timeout=0)[0]:
            return None
        try:
            proposal: Proposal = ray.get(self._answer)
        except RayActorError as error:
            self._deaths += 1
            if self._deaths >= MAX_DEATHS:
                raise RaydnnrError(f"the trainer died {self._deaths} times over one training: {error}") from error
            log.warning("the trainer died; a new one repeats the training")
            self._start()
            assert self._question is not None
            self.request(*self._question)
            return None
        except RayTaskError as error:
            raise RaydnnrError(f"the training failed: {error}") from error
        self._answer, self._question, self._deaths = None, None, 0
        return proposal

    def close(self) -> None:
        """End the actor, whatever it does."""
        within(2.0, lambda: ray.kill(self._actor), "ending the trainer")

    def _start(self) -> None:
        self._actor = TrainerActor.options(  # type: ignore[attr-defined]
            name=f"trainer-{self._n_started}", num_cpus=0, num_gpus=self._num_gpus, max_restarts=0, max_task_retries=0
        ).remote(Parcel(self._plan), self._surrogate_dir)
        self._n_sent = 0
        self._n_started += 1
