"""Claim: one driver per run directory, without locks, on shared file systems too.

``driver.json`` names the driver's host, process and the process's start; its modification time is the driver's
heartbeat. On the same host the process itself is asked for; on another one a heartbeat older than `STALE_S` is a death.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from raydnnr.atomic import write_atomically
from raydnnr.errors import RunDirectoryError

STALE_S = 60.0
BEAT_S = 5.0


@dataclass
class Claim:
    """A run directory that is ours until `release`."""

    path: Path
    beaten: float = 0.0

    @classmethod
    def take(cls, run_dir: Path) -> Claim:
        """Claim a run directory.

        Raises:
            RunDirectoryError: A living driver holds it.
        """
        path = run_dir / "driver.json"
        if holder := living_driver(run_dir):
            raise RunDirectoryError(f"{run_dir}: a driver works in it (process {holder['pid']} on {holder['host']}); "
                                    "wait for it, stop it, or choose another --run-dir")
        me = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
        write_atomically(path, json.dumps(me).encode())
        return cls(path, time.monotonic())

    def beat(self) -> None:
        """Say that we live; cheap, called often."""
        if time.monotonic() - self.beaten > BEAT_S:
            self.beaten = time.monotonic()
            os.utime(self.path)

    def release(self) -> None:
        """Let it go."""
        self.path.unlink(missing_ok=True)


def living_driver(run_dir: Path) -> dict[str, object] | None:
    """Host, pid and start of the driver that works in a run directory, or None."""
    path = run_dir / "driver.json"
    try:
        holder: dict[str, object] = json.loads(path.read_text())
        beat = path.stat().st_mtime
        pid, started = int(str(holder["pid"])), float(str(holder["started"]))
    except (OSError, ValueError, KeyError):
        return None
    if holder.get("host") != socket.gethostname():
        return holder if time.time() - beat < STALE_S else None
    try:
        alive = abs(psutil.Process(pid).create_time() - started) < 1.0 and pid != os.getpid()
    except psutil.Error:
        return None
    return holder if alive else None
