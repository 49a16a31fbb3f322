"""The README's blocks run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def block(language: str, containing: str) -> str:
    return next(text for word, text in BLOCKS if word == language and containing in text)


def test_own_physics_runs_from_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "mymodel.py").write_text(block("python", "# mymodel.py"))
    (tmp_path / "scan.toml").write_text(block("toml", "# scan.toml"))

    for words in (["--check"], ["--inline"]):
        done = subprocess.run([sys.executable, "-m", "raydnnr.run", "scan.toml", *words], cwd=tmp_path,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert '"evaluations": 2000' in done.stdout or '"reason": "points' in done.stdout


@pytest.mark.slow
def test_first_scan_and_export_run_as_they_stand(tmp_path: Path) -> None:
    """The commands after the installation, in a folder of their own; the scan with a smaller budget, without Ray."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    install, _, scan = block("bash", "quickstart.toml").strip().partition(" && ")
    export = block("bash", "raydnnr export").strip()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = f"{scan} --inline --set scan.points=20 --set scan.max_evaluations=1500\n{export}"
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": path})

    assert install.startswith("pip install ")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["good"] > 0
    assert len((tmp_path / "good.csv").read_text().splitlines()) > 1


def test_python_api_runs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(block("python", "Plan("))
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "mean" in done.stdout


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {word for word, _ in BLOCKS} <= {"bash", "python", "toml", "text"}
