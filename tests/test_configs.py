"""Every file in configs/ loads; those whose codes come from PyPI run, with a small budget."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raydnnr.config import load
from tests.unit.test_tools_packages import gluino_limit

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_config_is_valid(path: Path) -> None:
    plan = load(path)
    assert plan.warnings() == []


def run(path: Path, folder: Path, *words: str) -> tuple[dict[str, object], pd.DataFrame]:
    command = [sys.executable, "-m", "raydnnr.run", str(path), "--run-dir", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), pd.read_parquet(folder / "evaluations")


@pytest.mark.slow
def test_quickstart_finds_its_points_with_ray(tmp_path: Path) -> None:
    summary, table = run(CONFIGS / "quickstart.toml", tmp_path / "run")

    assert summary["good"] >= 200
    assert (table.status != "failed").all()
    assert len(table) == summary["evaluations"] < 6000


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("simsusy"), reason="simsusy is not installed")
def test_an_external_slha_program_is_scanned(tmp_path: Path) -> None:
    summary, table = run(CONFIGS / "mssm_simsusy.toml", tmp_path / "run", "--inline",
                         "--set", "scan.max_evaluations=60", "--set", "search.bootstrap_points=40",
                         "--set", "cluster.slots=2")

    assert summary["good"] > 0
    assert set(table.status) == {"ok", "invalid"}
    assert table[table.status == "ok"].m_chi1p.between(0, 3000).all()


@pytest.mark.slow
def test_a_metastable_vacuum_is_found(tmp_path: Path) -> None:
    summary, table = run(CONFIGS / "singlet_vacuum.toml", tmp_path / "run", "--inline",
                         "--set", "scan.max_evaluations=150", "--set", "cluster.slots=2")

    good = table[(table.status == "ok") & (table.nll < 1)]
    assert summary["good"] == len(good) > 3 and summary["failed"] == 0
    assert (good.stable == 0).all() and (good.action > 400).all() and (good.depth < 0).all()


@pytest.mark.slow
def test_a_simplified_model_is_confronted_with_a_limit(tmp_path: Path) -> None:
    """The database is made up: one limit of 5 fb, for gluinos of 0.5 to 2 TeV and neutralinos of up to 0.4 TeV."""
    pytest.importorskip("smodels")
    gluino_limit(tmp_path / "database", 0.005)
    _, table = run(CONFIGS / "gluino_smodels.toml", tmp_path / "run", "--inline", "--set", "search.method=random",
                   "--set", f"tools.lhc.database={tmp_path / 'database'}", "--set", "scan.max_evaluations=60",
                   "--set", "parameters.dm.low=800",
                   "--set", "cluster.slots=2")

    assert set(table.status) == {"ok", "invalid"}
    assert (table.m_chi[table.status == "invalid"] < 1).all() and table.seconds_lhc[table.status == "ok"].gt(0).all()
    seen = table[table.n_results == 1]
    assert len(seen) > 3 and (seen.m_chi <= 400).all()
    np.testing.assert_allclose(seen.r_lhc, seen.sigma_pb / 0.005, rtol=1e-3)
    assert (table.r_lhc[table.n_results == 0] == 0).all()


@pytest.mark.slow
def test_a_parameter_is_solved_for_around_a_program_that_prints_json(tmp_path: Path) -> None:
    _, table = run(CONFIGS / "ewsb_fit.toml", tmp_path / "run", "--inline", "--set", "scan.max_evaluations=8",
                   "--set", "search.method=random", "--set", "cluster.slots=2")

    assert (table.status == "ok").all() and len(table) == 8
    np.testing.assert_allclose(table.mZ_sq, 91.19**2, atol=1.9)
    t2 = table.tanb**2
    mz_sq = 2 * ((table.m_Hd**2 + table.m_Hu**2 * t2) / (t2 - 1) - table.mu**2)
    np.testing.assert_allclose(mz_sq, table.mZ_sq, rtol=1e-6)
    assert table.trials.between(2, 40).all() and (table.seconds_ewsb > table.seconds_higgs).all()


@pytest.mark.slow
def test_flavio_is_scanned(tmp_path: Path) -> None:
    pytest.importorskip("flavio")
    summary, table = run(CONFIGS / "b_anomalies_flavio.toml", tmp_path / "run", "--inline",
                         "--set", "scan.max_evaluations=24", "--set", "search.bootstrap_points=16",
                         "--set", "search.points_per_iteration=8", "--set", "cluster.slots=2")

    assert (table.status == "ok").all()
    assert summary["evaluations"] == 24
