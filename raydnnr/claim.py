"""Claim: one driver per run directory, without locks, on shared file systems too.

``driver.json`` names the driver's host, process and the process's start; its modification time is the driver's
heartbeat. On the same host the process itself is asked for; on another one a heartbeat older than `STALE_S` is a death.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import psutil

from raydnnr.atomic import PRIVATE
from raydnnr.errors import RunDirectoryError, StorageError

STALE_S = 60.0
BEAT_S = 5.0
SAME_START_S = 5.0  # a process's start moves by this much when the machine's clock is set
TRIES = 5

_held: set[Path] = set()  # claims of this process


class Claim:
    """A run directory that is ours until `release`. Make one with `Claim.take`.

    Attributes:
        path: ``driver.json``.
    """

    def __init__(self, path: Path, mark: bytes) -> None:
        self.path, self._mark, self._beaten = path, mark, time.monotonic()
        _held.add(path)

    @classmethod
    def take(cls, run_dir: Path) -> Claim:
        """Claim a run directory.

        Raises:
            RunDirectoryError: A living driver holds it.
            OSError: It cannot be written.
        """
        path = run_dir.absolute() / "driver.json"
        mark = json.dumps({"host": socket.gethostname(), "pid": os.getpid(),
                           "started": psutil.Process().create_time()}).encode()
        card = path.with_name(f".driver-{socket.gethostname()}-{os.getpid()}.tmp")
        card.unlink(missing_ok=True)
        try:
            _write_new(card, mark)
            now = card.stat().st_mtime  # by the clock of the file server, as the heartbeats are
            for _ in range(TRIES):
                if _publish(card, path, mark):
                    return cls(path, mark)
                if holder := living_driver(run_dir, now):
                    raise RunDirectoryError(f"{run_dir}: a driver works in it (process {holder['pid']} on "
                                            f"{holder['host']}); wait for it, stop it, or choose another --run-dir")
                _bury(path, now)
            raise RunDirectoryError(f"{run_dir}: another driver is starting in it; wait for it, or choose another "
                                    "--run-dir")
        finally:
            card.unlink(missing_ok=True)

    def beat(self) -> None:
        """Say that we live; cheap, called often.

        Raises:
            StorageError: The claim is no longer ours: we were thought dead, or the run directory was moved.
        """
        if time.monotonic() - self._beaten < BEAT_S:
            return
        self._beaten = time.monotonic()
        if not self._is_ours():
            raise StorageError(f"storage: {self.path} is no longer ours: another driver has taken the run directory "
                               "over, or it was moved. Everything committed is safe; run the same command again")
        os.utime(self.path)

    def release(self) -> None:
        """Let it go."""
        _held.discard(self.path)
        if self._is_ours():
            self.path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            return self.path.read_bytes() == self._mark
        except FileNotFoundError:
            return False


def living_driver(run_dir: Path, now: float | None = None) -> dict[str, object] | None:
    """Host, pid and start of the driver that works in a run directory, or None.

    Args:
        run_dir: Any folder.
        now: Unix time by which heartbeats are judged; the clock of this machine by default.
    """
    path = run_dir.absolute() / "driver.json"
    try:
        holder: dict[str, object] = json.loads(path.read_bytes())
        beat = path.stat().st_mtime
        host, pid, started = str(holder["host"]), int(str(holder["pid"])), float(str(holder["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():
        return holder if (time.time() if now is None else now) - beat < STALE_S else None
    if pid == os.getpid():
        return holder if path in _held else None
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < SAME_START_S
    except psutil.Error:
        return None
    return holder if alive else None


def await_silence(run_dir: Path) -> None:
    """Let a driver on another host show whether it lives: returns once it has, or has been silent for `STALE_S`.

    Without a driver there, or with one on this host, returns at once. It is what a batch job does that follows one
    which was cancelled or lost its machine; somebody at a terminal rather gets the answer of `Claim.take`.
    """
    path = run_dir.absolute() / "driver.json"
    first = _heartbeat(path)
    deadline = time.monotonic() + 2 * STALE_S
    while (holder := living_driver(run_dir)) and holder["host"] != socket.gethostname():
        if _heartbeat(path) != first or time.monotonic() > deadline:
            return
        time.sleep(0.5)


def _heartbeat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _publish(card: Path, path: Path, mark: bytes) -> bool:
    """Give our card the name that counts; False where somebody else's has it. A link is made by one of two only."""
    try:
        os.link(card, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            _write_new(path, mark)
        except FileExistsError:
            return False
    return True


def _bury(path: Path, now: float) -> None:
    """Take a dead driver's card away. If a living one came in between, it gets its own back."""
    tomb = path.with_name(f".driver-dead-{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        dead = path.read_bytes()
        if living_driver(path.parent, now):
            return
        os.rename(path, tomb)
        found = tomb.read_bytes()
        if found != dead:
            _publish(tomb, path, found)
        tomb.unlink()
    except FileNotFoundError:
        return
