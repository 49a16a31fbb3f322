"""From cluster settings to a running Ray: one of our own on this machine, or the one a job script has started."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray.exceptions import RayError

from raydnnr.cluster.environment import expected_nodes, resolve
from raydnnr.cluster.patience import shut_down
from raydnnr.cluster.pool import RayPool
from raydnnr.cluster.trainer import RemoteTrainer
from raydnnr.errors import ConfigError, RaydnnrError
from raydnnr.evaluator import cpus_of_this_process
from raydnnr.plan import ClusterSettings, Plan
from raydnnr.tools.guard import PREFIX, Guard

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 256 * 2**20  # points and outcomes are small
START_TRIES = 2  # Ray gives up after 30 s of its own, which a busy machine can need once
NODES_S = 30.0  # how long nodes are waited for that have not joined yet


@dataclass(frozen=True)
class Cluster:
    """A Ray that is up. ``n_slots``: physics slots on all nodes; None: all CPUs. ``gpus_for_trainer``: None: one, if
    there is one.
    """

    n_slots: int | None
    gpus_for_trainer: float | None
    dashboard_url: str

    def layout(self) -> dict[str, int]:
        """Slots by id of the nodes that are alive now."""
        cpus = {n["NodeID"]: int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]}
        return _shared_out(self.n_slots, {k: v for k, v in cpus.items() if v})

    def pool(self, plan: Plan) -> RayPool:
        """Evaluators on every node."""
        return RayPool(plan, self.layout)

    def trainer(self, plan: Plan, surrogate_dir: Path) -> RemoteTrainer:
        """The trainer, on a GPU where there is one: of a node that has not joined yet, perhaps."""
        wanted = 1.0 if self.gpus_for_trainer is None else self.gpus_for_trainer
        if wanted:
            _wait_for_nodes(expected_nodes(), or_else=_gpus)
        return RemoteTrainer(plan, surrogate_dir, min(wanted, _gpus()), _gpus)


@contextmanager
def connect(settings: ClusterSettings) -> Iterator[Cluster]:
    """Start or join Ray, and leave nothing of ours behind. `raydnnr.cluster.environment.prepare` comes first.

    Args:
        settings: ``address = "auto-local"`` starts a Ray for this scan alone; anything else is the address of a
            running one.

    Raises:
        ConfigError: The address is ``auto`` (which can join somebody else's Ray), or nobody answers there.
        RaydnnrError: Ray does not start.
    """
    address = resolve(settings.address)
    if address == "auto-local":
        with _own_ray(settings) as url:
            yield _describe(settings, url)
    else:
        url = _join(address)
        if settings.slots:  # to be shared out among all nodes; otherwise, nodes may join later
            _wait_for_nodes(expected_nodes())
        try:
            yield _describe(settings, url)
        finally:
            ray.shutdown()


def _join(address: str) -> str:
    if address == "auto":
        raise ConfigError("cluster.address: 'auto' can join another user's Ray; give host:port, or 'auto-local'")
    try:
        return str(ray.init(address=address, log_to_driver=False, configure_logging=False).dashboard_url)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise ConfigError(f"cluster.address: no Ray lets us in at {address!r} ({error}); is the job that starts it "
                          "running, and RAY_AUTH_TOKEN_PATH its token?") from error


def _wait_for_nodes(n_nodes: int, or_else: Callable[[], object] = lambda: False) -> None:
    deadline = time.monotonic() + NODES_S
    while sum(node["Alive"] for node in ray.nodes()) < n_nodes and not or_else() and time.monotonic() < deadline:
        time.sleep(0.2)


def _gpus() -> float:
    return float(ray.cluster_resources().get("GPU", 0.0))


@contextmanager
def _own_ray(settings: ClusterSettings) -> Iterator[str]:
    """A Ray on this machine, on loopback, with a token; its processes and files go when the driver goes, however."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short_folder()))
    guard = Guard(str(folder))
    try:
        with _temporary_files_in(folder):
            url = _start_ray(settings, folder / "r")  # which Ray opens to everybody, but not the one above
        for process in _ray_processes():
            guard.add_process(process.pid)
        yield url
    finally:
        shut_down()
        shutil.rmtree(folder, ignore_errors=True)
        guard.close()


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let what starts now keep its temporary files where they are removed with it."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _short_folder() -> str:
    """Where Ray's sockets fit: their paths end at 107 characters."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 27 else "/tmp"


def _start_ray(settings: ClusterSettings, folder: Path) -> str:
    slots = settings.slots or cpus_of_this_process()
    for attempt in range(1, START_TRIES + 1):
        try:
            context = ray.init(
                address="local", num_cpus=max(slots, cpus_of_this_process()), dashboard_host="127.0.0.1",
                include_dashboard=True, object_store_memory=OBJECT_STORE_BYTES, _temp_dir=str(folder),
                log_to_driver=False, configure_logging=False,
            )
            return str(context.dashboard_url)
        except (RuntimeError, ConnectionError, TimeoutError, OSError) as error:
            ray.shutdown()
            if attempt == START_TRIES:
                raise RaydnnrError(f"Ray does not start on this machine ({error}); --inline runs without it") from error
            log.warning("Ray did not start (%s); once more", error)
            time.sleep(1.0)
    raise AssertionError("unreachable")


def _ray_processes() -> list[psutil.Process]:
    """What `ray.init` has started below this process."""
    return psutil.Process().children(recursive=True)


def _describe(settings: ClusterSettings, url: str) -> Cluster:
    cluster = Cluster(settings.slots, settings.gpus_for_trainer, url)
    if not cluster.layout():
        raise RaydnnrError("the Ray cluster has no node with a CPU; see its dashboard")
    return cluster


def _shared_out(n_slots: int | None, cpus: dict[str, int]) -> dict[str, int]:
    """``n_slots`` over the nodes in proportion to their CPUs; one per CPU if None.

    >>> _shared_out(None, {"a": 2, "b": 4})
    {'a': 2, 'b': 4}
    >>> _shared_out(8, {"a": 2, "b": 4})
    {'a': 3, 'b': 5}
    >>> _shared_out(1, {"a": 2, "b": 4})
    {'b': 1}
    """
    if n_slots is None:
        return cpus
    total, given, shares = sum(cpus.values()), 0, {}
    for k, node in enumerate(cpus, 1):
        upto = round(n_slots * sum(list(cpus.values())[:k]) / total)
        if upto > given:
            shares[node] = upto - given
        given = max(given, upto)
    return shares
