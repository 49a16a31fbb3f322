"""One node of a job's Ray, from an allocation of any scheduler: ``python -m raydnnr.cluster.node JOB_DIR --cpus N``.

The nodes find each other through files in a folder that all of them see (`JobFolder`). A node makes a private,
node-local temporary directory, takes a block of free ports, starts ``ray start --block``, starts it again if it dies,
and removes every process and file of it in the end: by itself on SIGTERM, by its guard if it was killed, or, where the
guard was killed too, by ``--sweep``, with which a job ends on every machine, or by the same user's next node there.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from raydnnr.atomic import write_atomically
from raydnnr.cluster.environment import PATIENCE
from raydnnr.errors import RaydnnrError
from raydnnr.tools import slot
from raydnnr.tools.guard import PREFIX, Guard, end, finish, marks

STEM = f"{PREFIX}ray-"  # of the names of temporary directories
MAX_FOLDER = 46  # Ray's sockets are up to 60 characters below, and their paths end at 107
MAX_TMPDIR = 70  # Python's sockets for processes that Ray's dashboard starts are up to 33 characters below
OBJECT_STORE_BYTES = 256 << 20  # points and outcomes are small
LEAST_STORE_BYTES = 80 << 20  # Ray's own minimum is 75 MiB
FIRST_PORT, BLOCK, N_BLOCKS = 20_000, 400, 31  # below 32768, where the system takes ports from
NAMED = 20  # ports of a block that have names; the others are for workers
START_TRIES = 5
HEAD_TIMEOUT_S = 300.0  # for the head to come up
HEAD_GONE_S = 30.0  # ... and to be reached again, where it was up
NO_HEAD = 69  # exit status: there is no head to join, and it is not known why
LAST_S = 10.0  # for a node to end by itself, before what is left of it is removed
STOP_S = 5.0  # for Ray to end by itself
AGENT_S = 20.0  # a raylet that lived this long has found its agent, whatever that leaves on the disk
SETTLED_S = 60.0  # a Ray that lived this long had not failed to start
HEAD_OPTIONS = ["--head", "--dashboard-host=127.0.0.1", "--include-dashboard=true", "--no-monitor"]
LOGS = ("raylet.*", "gcs_server.*", "dashboard.*", "dashboard_agent.*", "runtime_env_agent.*")


class NoHead(RaydnnrError):
    """The head node has not come up, is gone, or cannot be reached."""


@dataclass(frozen=True)
class JobFolder:
    """What a job's nodes, driver and script tell each other, a file each: ``token``, ``address`` of Ray, ``dashboard``
    (its port), ``problem``, and ``end``: the script asks the nodes to end.
    """

    path: Path

    @property
    def token(self) -> Path:
        """The job's secret."""
        return self.path / "token"

    def tell(self, name: str, text: str) -> None:
        """Say something to the others."""
        write_atomically(self.path / name, text.encode())

    def heard(self, name: str) -> str:
        """What was said; empty if nothing was yet."""
        try:
            return (self.path / name).read_text("utf-8")
        except FileNotFoundError:
            return ""

    def asked_to_end(self) -> bool:
        """Whether the job is over."""
        return not self.token.exists() or (self.path / "end").exists()


@dataclass(frozen=True)
class Ports:
    """A block of ports on one machine. ``first`` is the control service's on the head node."""

    first: int

    @classmethod
    def free(cls, seed: int, address: str = "0.0.0.0") -> Ports:
        """A block that nobody uses, beginning with the ``seed``-th: jobs that start together do not race for one.

        Raises:
            RaydnnrError: There is none.
        """
        for k in range(N_BLOCKS):
            first = FIRST_PORT + (seed + k) % N_BLOCKS * BLOCK
            if all(_can_bind(address, port) for port in range(first, first + BLOCK)):
                return cls(first)
        raise RaydnnrError(f"no {BLOCK} free ports in a row between {FIRST_PORT} and {FIRST_PORT + N_BLOCKS * BLOCK} "
                           f"on {socket.gethostname()}")

    @property
    def dashboard(self) -> int:
        """Of the head node's dashboard, on its loopback."""
        return self.first + 1

    def options(self, head: bool) -> list[str]:
        """For ``ray start``: every port it would choose by itself."""
        names = ["node-manager", "object-manager", "runtime-env-agent", "dashboard-agent-grpc",
                 "dashboard-agent-listen"]
        words = [f"--{name}-port={self.first + 2 + k}" for k, name in enumerate(names)]
        words += [f"--metrics-export-port={self.first + 7}", f"--min-worker-port={self.first + NAMED}",
                  f"--max-worker-port={self.first + BLOCK - 1}"]
        if head:
            words += [f"--port={self.first}", f"--dashboard-port={self.dashboard}",
                      f"--ray-client-server-port={self.first + 8}"]
        return words


class TemporaryFolder:
    """``<base>/raydnnr-ray-<uid>-<name>``, mode 0700, ours while we live; the same name on all nodes of a job.

    Whose it is, is a lock on a file in it, which ends with its owner however that one ends. Ray opens its own folder
    to everybody: it gets ``for_ray``, one level below, where nobody else comes.

    Args:
        base: A node-local folder with a short path.
        name: Of the job.
    """

    def __init__(self, base: Path, name: str) -> None:
        sweep(base)
        self.path = base / f"{STEM}{os.getuid()}-{name}"
        unborn = Path(tempfile.mkdtemp(prefix=f".{STEM}", dir=base))
        self._owner = open(unborn / "owner", "w")  # noqa: SIM115 - its lock lives as long as we do
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        os.rename(unborn, self.path)  # only now can a sweep see it
        self.for_ray = self.path / "r"
        self._guard = Guard(str(self.path))
        self.environment: Mapping[str, str] = marks(str(self.path))

    def end_processes(self) -> None:
        """End what was started in it and empty it."""
        end(set(), {str(self.path)}, {})
        shutil.rmtree(self.for_ray, ignore_errors=True)

    def close(self) -> None:
        """End what was started in it and remove it."""
        finish(set(), {str(self.path)}, {})
        self._owner.close()
        self._guard.close()


def sweep(base: Path) -> list[Path]:
    """End the processes and remove the temporary directories of dead nodes of this user; which ones."""
    swept = []
    for path in base.glob(f"{STEM}{os.getuid()}-*"):
        try:
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            with open(path / "owner") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # killed while it was removing itself
        except OSError:
            continue  # it lives
        finish(set(), {str(path)}, {})
        swept.append(path)
    return swept


def end_job(base: Path, name: str) -> None:
    """Wait for a job's nodes on this machine to end, then end and remove what they, or dead ones, have left.

    Args:
        base: Of the temporary directories.
        name: Of the job, which theirs begin with.
    """
    def left() -> list[Path]:
        sweep(base)
        return list(base.glob(f"{STEM}{os.getuid()}-{name}-*"))

    deadline = time.monotonic() + LAST_S
    while left() and time.monotonic() < deadline:
        time.sleep(0.2)
    if late := left():
        finish(set(), {str(path) for path in late}, {})


def own_address(towards: str = "") -> str:
    """This machine's address as other nodes see it: the one that leads to ``towards``, else the one of its name.

    Example:
        >>> own_address("127.0.0.1")
        '127.0.0.1'
    """
    if not towards:
        for address in _resolved(os.environ.get("SLURMD_NODENAME", "")) + _resolved(socket.gethostname()):
            if not address.startswith("127.") and _can_bind(address, 0):
                return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards or "192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def store_bytes(shared_memory: Path = Path("/dev/shm")) -> int:
    """Size of Ray's object store: half of what is free in shared memory, between Ray's least and what we need."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(shared_memory).free
        if free < LEAST_STORE_BYTES:
            print(f"{shared_memory} has {free >> 20} MiB free: Ray's object store goes to the disk", file=sys.stderr)
        return max(LEAST_STORE_BYTES, min(OBJECT_STORE_BYTES, free // 2))
    return OBJECT_STORE_BYTES


class Node:
    """Ray on this machine, for as long as the job lasts.

    Args:
        job: Where the others are met.
        head: Whether this is the node of the driver, which all others join.
        resources: ``--num-cpus`` and the like, for ``ray start``.
        folder: For Ray's files.
        address: This machine's, or empty to find it out.
    """

    def __init__(self, job: JobFolder, head: bool, resources: Sequence[str], folder: TemporaryFolder,
                 address: str = "") -> None:
        self._job, self._head, self._resources, self._folder, self._address = job, head, resources, folder, address
        self._ray: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._stopped = 0.0

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """End soon; a signal handler."""
        if not self._stopping:
            self._stopping, self._stopped = True, time.monotonic()
        if self._ray:
            self._ray.terminate()

    def run(self) -> int:
        """Keep Ray running until `stop`; the exit status.

        The head's Ray is not started again: what the others have joined is gone with it.
        """
        failures = 0
        while not self._stopping and failures < START_TRIES:
            started = time.monotonic()
            address = self._start(seed=int(_job()) + failures)
            settled = self._wait(address)
            if self._stopping:
                break
            self._keep_logs(failures)
            self._folder.end_processes()
            failures = 0 if time.monotonic() - started > SETTLED_S else failures + 1
            print(f"Ray ended on {socket.gethostname()} with status {self._status()}", file=sys.stderr, flush=True)
            if self._head and settled:
                break
            time.sleep(failures)
        if not self._stopping and self._head:
            self._job.tell("problem", f"Ray's head node on {socket.gethostname()} ended; its logs are in "
                                      f"{self._job.path}")
        return 0 if self._stopping else 1

    def _start(self, seed: int) -> str:
        """Start Ray; the head's address."""
        head = "" if self._head else self._wait_for_head()
        ours, ports = self._address or own_address(_host(head)), Ports.free(seed)
        head = head or f"{ours}:{ports.first}"
        words = HEAD_OPTIONS if self._head else [f"--address={head}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, "--block", "--disable-usage-stats",
                   f"--node-ip-address={ours}", f"--temp-dir={self._folder.for_ray}",
                   f"--object-store-memory={store_bytes()}", *self._resources, *ports.options(self._head)]
        print(" ".join(command), flush=True)
        environment = _environment(self._job, self._folder, ports)
        self._ray = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        if self._head:
            self._job.tell("dashboard", str(ports.dashboard))
        return head

    def _wait(self, address: str) -> bool:
        """Wait for Ray's end; whether it had come up. The head makes its address known once a driver can join."""
        assert self._ray
        known = not self._head
        raylet_since = 0.0
        while self._ray.poll() is None:
            if not _has_raylet(self._ray.pid):
                if raylet_since:
                    self._ray.kill()  # a raylet that was cut off leaves in silence, and `ray start` would stay without
            elif not raylet_since:
                raylet_since = time.monotonic()
            elif not known and self._has_started(raylet_since) and _answers(address):
                known = True
                self._job.tell("address", address)
            if self._stopping and time.monotonic() - self._stopped > STOP_S:
                self._ray.kill()
            elif not self._stopping and self._job.asked_to_end():
                self.stop()
            time.sleep(0.1 if not known else 0.5)
        return known

    def _has_started(self, raylet_since: float) -> bool:
        """Whether the raylet has found its agent. On a busy machine it waits in vain, for 15 s, and ends."""
        found = self._folder.for_ray.glob("session_2*/dashboard_agent_listen_port_*")
        return any(found) or time.monotonic() - raylet_since > AGENT_S

    def _status(self) -> int | None:
        return self._ray.poll() if self._ray else None

    def _wait_for_head(self) -> str:
        """The head's address, once it can be reached: not before a network that was cut is healed."""
        patience_s = HEAD_GONE_S if self._ray else HEAD_TIMEOUT_S
        deadline = time.monotonic() + patience_s
        while not ((address := self._job.heard("address")) and _answers(address)):
            if self._stopping or self._job.asked_to_end():
                raise NoHead(f"the job ended before this node, {socket.gethostname()}, had joined it")
            if time.monotonic() > deadline:
                raise NoHead(f"no head node after {patience_s:.0f} s; see the logs in {self._job.path}")
            time.sleep(0.5)
        return address

    def _keep_logs(self, count: int) -> None:
        """Copy what Ray says of its end to where somebody will find it."""
        target = self._job.path / f"logs-{socket.gethostname()}-{count}"
        with contextlib.suppress(OSError):
            target.mkdir(mode=0o700, exist_ok=True)
            for pattern in LOGS:
                for log in self._folder.for_ray.glob(f"session_2*/logs/{pattern}"):
                    shutil.copy(log, target)


def _environment(job: JobFolder, folder: TemporaryFolder, ports: Ports) -> dict[str, str]:
    """Of Ray: the job's token, none of somebody else's Ray, and no files in a /tmp that nobody cleans."""
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    tmpdir = kept.get("TMPDIR", "/tmp")
    if len(tmpdir) > MAX_TMPDIR:
        print(f"TMPDIR={tmpdir} is too long for sockets: {folder.path} is used", file=sys.stderr)
    if len(tmpdir) > MAX_TMPDIR or tmpdir.rstrip("/") == "/tmp":  # Slurm's default, not a folder of the job's
        kept["TMPDIR"] = str(folder.path)
    return {PATIENCE: "300", **kept, **folder.environment,
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(job.token),
            "DASHBOARD_METRIC_PORT": str(ports.first + 9), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0",
            "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}


def _resolved(name: str) -> list[str]:
    try:
        return [str(a[0]) for *_, a in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_DGRAM) if name]
    except OSError:
        return []


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the end of an old connection is no obstacle
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _has_raylet(pid: int) -> bool:
    """Whether this ``ray start`` has a raylet."""
    try:
        children = psutil.Process(pid).children()
    except psutil.Error:
        return False
    return any(_is_raylet(child) for child in children)


def _is_raylet(process: psutil.Process) -> bool:
    try:
        return process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:  # a helper of Ray's that ends just now
        return False


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _base() -> Path:
    """Where temporary directories go: ``RAYDNNR_TMP``, unless its path is too long for sockets."""
    base = Path(os.environ.get("RAYDNNR_TMP", "/tmp"))
    name = f"{STEM}{os.getuid()}-{_job()}-{_try()}"
    if len(str(base / name / "r")) <= MAX_FOLDER:
        return base
    print(f"RAYDNNR_TMP={base} is too long for Ray's sockets: /tmp is used", file=sys.stderr)
    return Path("/tmp")


def _job() -> str:
    return os.environ.get("RAYDNNR_JOB", "0")


def _try() -> str:
    return os.environ.get("RAYDNNR_TRY", "0.0")


@contextlib.contextmanager
def _temporary_folder() -> Iterator[TemporaryFolder]:
    """The node's own; before and after it, what evaluators left that were killed with their guards goes, too."""
    _sweep_scratch()
    folder = TemporaryFolder(_base(), f"{_job()}-{_try()}")
    try:
        yield folder
    finally:
        folder.close()
        _sweep_scratch()


def _sweep_scratch() -> None:
    for base in {slot.MEMORY, slot.scratch_base()}:
        slot.sweep(base)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    p = argparse.ArgumentParser(prog="python -m raydnnr.cluster.node", description="One node of a job's Ray.")
    p.add_argument("job_dir", metavar="JOB_DIR", type=Path, help="a folder that all nodes of the job see")
    todo = p.add_mutually_exclusive_group(required=True)
    todo.add_argument("--cpus", type=int, help="start Ray with so many CPUs, which are the job's on this node")
    todo.add_argument("--sweep", action="store_true", help="start nothing: remove what nodes of the job have left")
    p.add_argument("--head", action="store_true", help="this is the node of the driver")
    p.add_argument("--gpus", type=int, default=0, help="its GPUs")
    p.add_argument("--address", default="", help="this node's, as the others see it (default: found out)")
    a = p.parse_args(argv)
    if a.sweep:
        end_job(_base(), _job())
        _sweep_scratch()
        return 0
    with _temporary_folder() as folder:
        node = Node(JobFolder(a.job_dir.absolute()), a.head, [f"--num-cpus={a.cpus}", f"--num-gpus={a.gpus}"], folder,
                    a.address)
        signal.signal(signal.SIGTERM, node.stop)
        signal.signal(signal.SIGINT, node.stop)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            return node.run()
        except RaydnnrError as error:
            print(f"error: {error}", file=sys.stderr)
            if a.head:
                JobFolder(a.job_dir.absolute()).tell("problem", str(error))
            return NO_HEAD if isinstance(error, NoHead) else 1


if __name__ == "__main__":
    sys.exit(main())
