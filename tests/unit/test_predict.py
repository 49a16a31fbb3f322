"""raydnnr predict: rows in, rows out, in their order; what is not known is NaN; what cannot be done is said."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raydnnr import Gauss, Observable, Parameter, PythonFunction, Stop, cli
from raydnnr.config import dump
from raydnnr.likelihoods import Off
from raydnnr.predict import BLOCK, predict
from raydnnr.run import run
from raydnnr.search.hybrid import Hybrid
from raydnnr.store import Store
from raydnnr.surrogates.emulator import Emulator, Prediction
from tests.unit.plans import disc, square

PREDICTIONS = ["r", "r_std", "nll_predicted", "nll_low", "nll_high", "p_valid", "p_good"]


@dataclass(frozen=True)
class Fake:
    """Predicts the first coordinate of the unit cube, wherever that is allowed."""

    threshold: float = 0.0

    def predict(self, u):
        assert len(u) <= BLOCK and ((u >= 0) & (u <= 1)).all()
        ones = np.ones(len(u))
        return Prediction(np.column_stack([u[:, 0], np.nan * ones]), np.column_stack([0.1 * ones, np.nan * ones]),
                          u[:, 0], u[:, 0] - 1, u[:, 0] + 1, 0.5 * ones, (u[:, 0] < self.threshold) * 0.5)


def plan(**changes):
    """x flat from 0 to 2, y logarithmic, k fixed; only r has a likelihood."""
    return square(**{"parameters": [Parameter.of("x", low=0, high=2), Parameter.of("y", low=1, high=10, prior="log"),
                                    Parameter.of("k", value=2)],
                     "observables": [Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1)),
                                     Observable(name="s", likelihood=Off())], "method": Hybrid()} | changes)


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run whose surrogate is the fake."""
    Store.open(tmp_path / "run", plan(), dump(plan())).close()
    (tmp_path / "run" / "surrogate" / "emulator.npz").touch()
    monkeypatch.setattr(Emulator, "load", lambda path, likelihoods: Fake())
    return tmp_path / "run"


def points(folder: Path, text: str) -> Path:
    (folder / "points.csv").write_text(text)
    return folder / "points.csv"


def test_every_row_has_its_prediction(run_dir, tmp_path):
    x = np.random.default_rng(0).uniform(0, 2, 2 * BLOCK + 7)
    pd.DataFrame({"y": 2.0, "x": x, "other": "word"}).to_parquet(tmp_path / "points.parquet")
    done = predict(run_dir, tmp_path / "points.parquet")
    table = done.table.to_pandas()
    assert list(table.columns) == ["x", "y", "k", *PREDICTIONS]
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_allclose(table.r, x / 2)
    assert (table.k == 2).all() and (table.p_good == 0.5 * (table.nll_predicted < 1)).all(), "threshold of the run"
    assert done.note == ""


def test_rows_outside_the_priors_have_no_prediction_and_keep_their_place(run_dir, tmp_path):
    done = predict(run_dir, points(tmp_path, "point_id,x,y,k\n7,1,2,2\n8,3,2,2\n9,1,-1,2\n10,,2,2\n11,1,2,3\n12,2,10,2\n"))
    table = done.table.to_pandas()
    assert table.point_id.tolist() == [7, 8, 9, 10, 11, 12]
    assert table[PREDICTIONS].isna().all(axis=1).tolist() == [False, True, True, True, True, False]
    assert not table.loc[[0, 5], PREDICTIONS].isna().any(axis=None)
    assert done.note.startswith("4 of 6 rows lie outside the priors or lack a number")


@pytest.mark.parametrize("rows", ["", "5,2\n"])
def test_no_row_inside_is_no_error(run_dir, tmp_path, rows):
    table = predict(run_dir, points(tmp_path, "x,y\n" + rows)).table
    assert table.num_rows == bool(rows) and table.column_names == ["x", "y", "k", *PREDICTIONS]


def test_the_command_writes_csv_and_parquet(run_dir, tmp_path, capsys):
    file = str(points(tmp_path, "x,y\n1,2\n9,9\n"))
    assert cli.main(["predict", str(run_dir), file]) == 0
    out, err = capsys.readouterr()
    shown = pd.read_csv(io.StringIO(out))
    assert "1 of 2 rows" in err
    for name, read in (("deep/out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
        assert cli.main(["predict", str(run_dir), file, "-o", str(tmp_path / name)]) == 0
        pd.testing.assert_frame_equal(read(tmp_path / name), shown, check_dtype=False)
    out, err = capsys.readouterr()
    assert out == "" and "2 predictions written to" in err


@pytest.mark.parametrize(("text", "output", "said"), [
    ("x,z\n1,2\n", "o.csv", "has no column y; every scanned parameter needs one. It has x, z"),
    ("x,y\n1,hot\n", "o.csv", "column 'y' holds what is not a number"),
    ("x,y,y\n1,2,3\n", "o.csv", "two columns are named 'y'"),
    ("", "o.csv", "cannot be read as a table"),
    ("x,y\n1,2\n", "o.txt", "unknown format '.txt'; let the name end with .csv or .parquet"),
    ("x,y\n1,2\n", "points.csv/o.csv", "cannot be written"),
])
def test_what_cannot_be_done_is_2_and_said(run_dir, tmp_path, capsys, text, output, said):
    assert cli.main(["predict", str(run_dir), str(points(tmp_path, text)), "-o", str(tmp_path / output)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ConfigError: ") and said in err


def test_a_missing_table_and_a_missing_run_are_said(run_dir, tmp_path, capsys):
    assert cli.main(["predict", str(run_dir), str(tmp_path / "nowhere.csv")]) == 2
    assert "nowhere.csv does not exist" in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path), str(points(tmp_path, "x,y\n"))]) == 2
    assert "not a run directory" in capsys.readouterr().err


@pytest.mark.parametrize(("method", "said"), [
    (square().method, "method 'random' saves none; 'hybrid' does"), (Hybrid(), "its method has not trained one yet"),
])
def test_a_run_without_a_surrogate_says_why(tmp_path, capsys, method, said):
    Store.open(tmp_path / "run", plan(method=method), dump(plan(method=method))).close()
    assert cli.main(["predict", str(tmp_path / "run"), str(points(tmp_path, "x,y\n1,2\n"))]) == 2
    assert f"has no surrogate to predict with (surrogate/emulator.npz): {said}" in capsys.readouterr().err


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "--help"])
    assert ended.value.code == 0
    assert "example: raydnnr predict runs/cmssm points.csv" in capsys.readouterr().out


def test_the_surrogate_of_a_run_knows_the_physics(tmp_path):
    scan = square(method=Hybrid(bootstrap_points=60, surrogate="gaussian_process"),
                  tools=[PythonFunction(name="model", function=disc)],
                  stop=Stop(points=0, iterations=0, max_evaluations=100))
    run(scan, run_dir=tmp_path / "run", inline=True, progress=False)
    x, y = np.random.default_rng(1).uniform(0.1, 0.9, (2, 50))
    pd.DataFrame({"x": x, "y": y}).to_csv(tmp_path / "points.csv", index=False)
    table = predict(tmp_path / "run", tmp_path / "points.csv").table.to_pandas()
    truth = np.hypot(x - 0.5, y - 0.5)
    nll = 0.5 * ((truth - 0.2) / 0.1) ** 2 + 0.5 * ((x + y - 1) / 0.1) ** 2
    assert np.median(np.abs(table.r - truth)) < 0.03 and np.median(np.abs(table.s - (x + y))) < 0.01
    assert (table.r_std > 0).all() and (table.nll_low <= table.nll_predicted).all()
    assert (table.nll_predicted <= table.nll_high).all() and ((table.p_good > 0.5) == (nll < 1)).mean() > 0.85
