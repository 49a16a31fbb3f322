"""``--address``: a scan in a Ray that is already there."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_scan import SmallScan, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a node needs Linux")]

def test_a_scan_joins_a_ray_that_is_there_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    """As a job of any scheduler starts it: `raydnnr.cluster.node` and a folder with a token in it."""
    scan = SmallScan(tmp_path, cluster="")
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
        wait_for((job / "address").exists, log.read_text, node)
        words = ("--address", (job / "address").read_text())
        driver = scan.start(*words, environment=environment)
        scan.wait_for(lambda: scan.status().get("evaluations"), "evaluations", driver)
        assert scan.status()["slots"] == 1 and scan.status()["dashboard"]
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == 85
        assert node.poll() is None
        (tmp_path / "stale").write_text("0" * 64)
        for token in ("/dev/null", str(tmp_path / "stale")):
            stranger = subprocess.run(scan.command(*words), cwd=tmp_path, env={**environment, "RAY_AUTH_TOKEN_PATH": token},
                                      timeout=120, capture_output=True, text=True, check=False)
            assert stranger.returncode == 2 and "RAY_AUTH_TOKEN_PATH" in stranger.stderr, stranger.stderr
    finally:
        (job / "end").touch()
        assert node.wait(60) == 0

