"""What Ray must find in the environment *before* it is imported: token authentication, on which network it listens,
and no usage statistics."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from pathlib import Path

log = logging.getLogger(__name__)

ADDRESS = "RAYDNNR_ADDRESS"  # set by slurm/launch.sh: the Ray of this job
NODES = "RAYDNNR_NODES"  # ... and how many nodes it will have
PATIENCE = "RAY_DASHBOARD_STARTUP_TIMEOUT_S"  # Ray's own 60 s end it on a machine that is very busy
CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0, on Linux, too: Ray takes 127.0.0.1 for this machine's address

_token = ""  # Ray reads its token once per process


def resolve(address: str) -> str:
    """The address to use for a configured one: ``auto-local`` is the job's own Ray where a job script started one."""
    return os.environ.get(ADDRESS) or address if address == "auto-local" else address


def expected_nodes() -> int:
    """How many nodes this job's Ray will have, as far as is known."""
    return int(os.environ.get(NODES, "1"))


def prepare(run_dir: Path, address: str) -> None:
    """Set the environment for a Ray of our own or for joining one.

    Our own Ray listens on the loopback only, and asks for a token, which stands in ``ray-token`` in the run directory,
    readable by its owner only. To join one, its token must be where ``RAY_AUTH_TOKEN_PATH`` says, or in
    ``~/.ray/auth_token``; a process that has had a Ray of its own can join only one on the same loopback.

    Args:
        run_dir: Of the scan.
        address: From `resolve`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(PATIENCE, "300")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # an actor without GPUs keeps its environment
    os.environ.setdefault("RAY_worker_niceness", "0")  # what the scan is there for does not stand back: Ray's is 15
    if address != "auto-local":
        return
    global _token
    if not _token:
        if "ray" in sys.modules:
            log.info("ray was imported before raydnnr started it: its own settings of authentication stay in force")
            return
        _token = secrets.token_hex(32)
        os.environ[CLUSTER] = "0"
    path = run_dir.absolute() / "ray-token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_token)
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
