"""RemoteTrainer without a Ray: what becomes of the trainer whose GPU is lost."""

from __future__ import annotations

import types

import pytest

from raydnnr.cluster import trainer
from tests.unit.plans import square


class Actor:
    """A trainer actor that starts where there are GPUs enough, and then answers at once."""

    def __init__(self, num_gpus: float, cluster: Cluster) -> None:
        self.num_gpus, self.cluster, self.killed = num_gpus, cluster, False
        self.propose = types.SimpleNamespace(remote=lambda rows, iteration, n_points: self)


class Cluster:
    """``gpus`` can be changed. Stands for the module ``ray``, too."""

    def __init__(self) -> None:
        self.gpus = 1.0
        self.actors: list[Actor] = []

    def options(self, num_gpus: float, **_: object) -> Cluster:
        self._next = num_gpus
        return self

    def remote(self, *_: object) -> Actor:
        self.actors.append(Actor(self._next, self))
        return self.actors[-1]

    def wait(self, answers: list[Actor], timeout: float) -> tuple[list[Actor], list[Actor]]:
        return ([a for a in answers if a.num_gpus <= self.gpus and not a.killed], [])

    def get(self, answer: Actor) -> str:
        return f"from a trainer with {answer.num_gpus:g} GPUs"

    def kill(self, actor: Actor) -> None:
        actor.killed = True


class View:
    """Of some rows."""

    point_id = (0, 1, 2)

    def rows(self, first: int) -> View:
        return self


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    for name, value in {"ray": cluster, "TrainerActor": cluster, "LOOK_S": 0.01, "GPU_GONE_S": 0.2}.items():
        monkeypatch.setattr(trainer, name, value)
    return cluster


def answer(remote: trainer.RemoteTrainer) -> object:
    while not (proposal := remote.proposal()):
        pass
    return proposal


def test_a_trainer_whose_gpu_is_gone_does_without_until_there_is_one_again(cluster: Cluster) -> None:
    remote = trainer.RemoteTrainer(square(), None, 1.0, lambda: cluster.gpus)
    remote.request(View(), 1, 10)
    assert answer(remote) == "from a trainer with 1 GPUs"
    cluster.gpus = 0.0
    remote.request(View(), 2, 10)
    assert answer(remote) == "from a trainer with 0 GPUs"
    cluster.gpus = 1.0
    while remote._gpus.answer < 1.0:
        pass
    remote.request(View(), 3, 10)
    assert answer(remote) == "from a trainer with 1 GPUs"
    assert [actor.killed for actor in cluster.actors] == [True, True, False]
    remote.close()


def test_a_gpu_that_is_back_soon_is_waited_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "GPU_GONE_S", 600.0)
    remote = trainer.RemoteTrainer(square(), None, 1.0, lambda: cluster.gpus)
    cluster.gpus = 0.0
    while remote._gpus.answer:
        pass
    remote.request(View(), 1, 10)
    assert remote.proposal() is None
    cluster.gpus = 1.0
    assert answer(remote) == "from a trainer with 1 GPUs"
    assert len(cluster.actors) == 1
    remote.close()
