"""A trainer that is a Ray actor, seen from the loop: asked without waiting, replaced when it dies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from raydnnr.cluster.actors import Parcel, TrainerActor
from raydnnr.cluster.patience import Watcher, within
from raydnnr.errors import RaydnnrError
from raydnnr.evaluation import Proposal, View
from raydnnr.plan import Plan

log = logging.getLogger(__name__)

MAX_DEATHS = 5  # of one training, before the scan gives up
LOOK_S = 5.0  # between two looks at the GPUs there are
GPU_GONE_S = 60.0  # a node whose Ray died is back before that


class RemoteTrainer:
    """Sends a trainer actor the rows it has not seen, and starts another one when it dies.

    A training that died is repeated from the same rows: it gives the same points. Where the GPU is gone with its node,
    an actor that asks for one would wait for ever: after `GPU_GONE_S` one without takes over, until there is one again.

    Args:
        plan: What to scan.
        surrogate_dir: Where the surrogate is saved, on a file system the actor's node sees.
        num_gpus: GPUs the actor asks for; 0 where the cluster has none, so that it never waits for one.
        gpus: How many there are now.
    """

    def __init__(self, plan: Plan, surrogate_dir: Path | None, num_gpus: float, gpus: Callable[[], float]) -> None:
        self._plan, self._surrogate_dir, self._wanted = plan, surrogate_dir, num_gpus
        self._gpus = Watcher(gpus, LOOK_S)
        self._num_gpus = num_gpus  # of the present actor
        self._gone_since = 0.0  # ... which are not there; 0 where they are
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
        if self._num_gpus < self._wanted <= self._gpus.answer:
            log.info("there is a GPU again: the surrogate is trained on it")
            self._replace(self._wanted)
        self._question = (view, iteration, n_points)
        self._answer = self._actor.propose.remote(view.rows(self._n_sent), iteration, n_points)
        self._n_sent = len(view.point_id)

    def proposal(self) -> Proposal | None:
        """The points asked for, once they are there.

        Raises:
            RaydnnrError: The training raised an exception, or its actor died `MAX_DEATHS` times over it.
        """
        if self._answer is None:
            return None
        if not ray.wait([self._answer], timeout=0)[0]:
            self._look_for_the_gpu()
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
        self._gpus.close()
        within(2.0, lambda: ray.kill(self._actor), "ending the trainer")

    def _look_for_the_gpu(self) -> None:
        """Train without one if it has been gone for long."""
        if self._num_gpus <= self._gpus.answer:
            self._gone_since = 0.0
        elif not self._gone_since:
            self._gone_since = time.monotonic()
        elif time.monotonic() - self._gone_since > GPU_GONE_S:
            log.warning("the GPU has been gone for %.0f s: the surrogate is trained without one", GPU_GONE_S)
            self._replace(0.0)
            assert self._question is not None
            self.request(*self._question)

    def _replace(self, num_gpus: float) -> None:
        """Another actor, on a node with so many GPUs."""
        self._num_gpus, self._gone_since = num_gpus, 0.0
        within(2.0, lambda: ray.kill(self._actor), "ending the trainer")
        self._start()

    def _start(self) -> None:
        self._actor = TrainerActor.options(  # type: ignore[attr-defined]
            name=f"trainer-{self._n_started}", num_cpus=0, num_gpus=self._num_gpus, max_restarts=0, max_task_retries=0
        ).remote(Parcel(self._plan), self._surrogate_dir)
        self._n_sent = 0
        self._n_started += 1
