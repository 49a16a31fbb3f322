"""``--address``: a scan in a Ray that is already there."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a node needs Linux")]

CONFIG = """
[scan]
name = "guest"
points = 0
iterations = 0
max_evaluations = 100000
[search]
method = "random"
[parameters]
x = { low = 0, high = 1 }
[[tools]]
name = "guest"
kind = "python"
function = "guest:observables"
[observables.y]
likelihood = { kind = "gauss", mean = 0.5, sigma = 0.1 }
"""
PHYSICS = """
import time
def observables(point):
    time.sleep(0.05)
    return {"y": point["x"]}
"""


def test_a_scan_joins_a_ray_that_is_there_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    """As a job of any scheduler starts it: `raydnnr.cluster.node` and a folder with a token in it."""
    (tmp_path / "scan.toml").write_text(CONFIG)
    (tmp_path / "guest.py").write_text(PHYSICS)
    job, log = tmp_path / "job", tmp_path / "log"
    job.mkdir(mode=0o700)
    (job / "token").write_text(secrets.token_hex(16))
    (job / "token").chmod(0o600)
    environment = {**os.environ, "RAYDNNR_JOB": str(os.getpid()), "RAY_AUTH_MODE": "token",
                   "RAY_AUTH_TOKEN_PATH": str(job / "token"), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with open(log, "w") as file:
        node = subprocess.Popen([sys.executable, "-m", "raydnnr.cluster.node", str(job), "--head", "--cpus", "1", "--address",
                                 "127.0.0.1"], env=environment, stdout=file, stderr=file)
    try:
        await_that((job / "address").exists, log.read_text)
        command = [sys.executable, "-m", "raydnnr.run", "scan.toml", "--address", (job / "address").read_text()]
        with open(log, "a") as file:
            scan = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
        await_that(lambda: status(tmp_path).get("evaluations"), log.read_text)
        assert status(tmp_path)["slots"] == 1 and status(tmp_path)["dashboard"]
        scan.send_signal(signal.SIGTERM)
        assert scan.wait(30) == 85
        assert node.poll() is None
        (tmp_path / "stale").write_text("0" * 64)
        for token in ("/dev/null", str(tmp_path / "stale")):
            stranger = subprocess.run(command, cwd=tmp_path, env={**environment, "RAY_AUTH_TOKEN_PATH": token}, timeout=120,
                                      capture_output=True, text=True, check=False)
            assert stranger.returncode == 2 and "RAY_AUTH_TOKEN_PATH" in stranger.stderr, stranger.stderr
    finally:
        (job / "end").touch()
        assert node.wait(60) == 0


def await_that(condition: Callable[[], Any], what: Callable[[], str], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def status(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "runs" / "guest" / "status.json").read_text()))
    except (OSError, ValueError):
        return {}
