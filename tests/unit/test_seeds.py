"""Seeds: earlier points from a CSV file, a Parquet file or another run directory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raydnnr import Gauss, Observable, Off
from raydnnr.errors import ConfigError
from raydnnr.evaluation import Status
from raydnnr.export import export
from raydnnr.seeds import read_seeds
from raydnnr.store import Store
from tests.unit.plans import square
from tests.unit.runs import frame, run_rounds

PLAN = square()
POINTS = pd.DataFrame({"x": [0.1, 0.5, 0.9], "y": [0.2, 0.5, 0.8]})
COMPUTED = POINTS.assign(r=[0.5, 0.0, 0.5], s=[0.3, 1.0, 1.7])


def read(table, tmp_path, plan=PLAN, name="seeds.csv"):
    path = tmp_path / name
    if name.endswith(".csv"):
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return read_seeds(path, plan)


@pytest.mark.parametrize("name", ["seeds.csv", "seeds.parquet", "seeds.dat"])
def test_observables_are_read_and_scored_later(tmp_path, name):
    seeds = read(COMPUTED.assign(other="text"), tmp_path, name=name)
    np.testing.assert_array_equal(seeds.x, COMPUTED[["x", "y"]])
    np.testing.assert_array_equal(seeds.observables, COMPUTED[["r", "s"]])
    assert np.isnan(seeds.nll).all()
    assert seeds.status.tolist() == [Status.OK] * 3
    assert seeds.report == f"{tmp_path / name}: 3 of 3 rows taken as seeds"


@pytest.mark.parametrize("name", ["NLL", "nll"])
def test_an_nll_is_enough(tmp_path, name):
    seeds = read(POINTS.assign(**{name: [1, 2, 3]}), tmp_path)
    assert seeds.nll.tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(seeds.observables).all()
    assert seeds.status.tolist() == [Status.OK] * 3


def test_observables_count_more_than_an_nll_of_other_likelihoods(tmp_path):
    seeds = read(COMPUTED.assign(nll=[1.0, 2.0, 3.0], r=[0.5, np.nan, 0.5], s=[0.3, np.nan, 1.7]), tmp_path)
    np.testing.assert_array_equal(seeds.nll, [np.nan, 2.0, np.nan])


def test_some_observables_do_not_make_an_nll(tmp_path):
    seeds = read(COMPUTED.drop(columns="s").assign(nll=[1.0, 2.0, 3.0]), tmp_path)
    assert seeds.nll.tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(seeds.observables).all()


def test_observables_without_a_likelihood_may_be_missing(tmp_path):
    plan = square(observables=[Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1)),
                               Observable(name="s", likelihood=Off())])
    seeds = read(COMPUTED.drop(columns="s"), tmp_path, plan)
    assert seeds.observables[:, 0].tolist() == [0.5, 0.0, 0.5]
    assert np.isnan(seeds.observables[:, 1]).all()
    assert seeds.status.tolist() == [Status.OK] * 3


def test_a_chain_that_stopped_on_its_way_is_invalid(tmp_path):
    seeds = read(COMPUTED.assign(s=[0.3, np.nan, 1.7]), tmp_path)
    assert seeds.status.tolist() == [Status.OK, Status.INVALID, Status.OK]


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    table = pd.concat([COMPUTED.assign(status="ok")] * 3, ignore_index=True)
    table.loc[0, "x"] = 1.5
    table.loc[1, "y"] = np.nan
    table.loc[2, "status"] = "failed"
    table.loc[3, ["r", "s"]] = np.nan
    table.loc[4, ["r", "s", "status"]] = [np.nan, np.nan, "invalid"]
    seeds = read(table, tmp_path)
    assert len(seeds.x) == 5
    assert seeds.status.tolist() == [Status.INVALID] + [Status.OK] * 4
    assert seeds.report.endswith("5 of 9 rows taken as seeds; left out: 1 not a number, 1 outside the priors, "
                                 "1 failed, 1 without NLL or observables")


def test_fixed_parameters_must_agree_where_they_are_given(tmp_path):
    seeds = read(COMPUTED.assign(k=[2, 3, 2], x2=-1), tmp_path)
    assert seeds.x[:, 0].tolist() == [0.1, 0.9]
    assert "1 outside the priors" in seeds.report


@pytest.mark.parametrize(("table", "words"), [
    (COMPUTED.drop(columns=["x", "y"]), "has no column x, y; a seed table needs every scanned parameter. It has r, s"),
    (POINTS, "has no column r, s; a seed table needs every observable that has a likelihood, or NLL. It has x, y"),
    (COMPUTED.drop(columns="s"), "has no column s; a seed table needs every observable"),
    (COMPUTED.assign(x=["a", "b", "c"]), "column 'x' holds what is not a number"),
])
def test_missing_columns_are_named_with_the_file_and_what_it_has(tmp_path, table, words):
    with pytest.raises(ConfigError) as error:
        read(table, tmp_path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"scan.init_csv: {tmp_path / 'seeds.csv'}")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"x,y\n1,2\n1,2,3\n", b"\xff\xfe\x00",
                                     b"x,y,nll,x\n1,2,3,4\n"])
def test_what_is_no_table_is_said_so(tmp_path, content):
    (tmp_path / "seeds.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"scan\.init_csv: .*seeds\.csv"):
        read_seeds(tmp_path / "seeds.csv", PLAN)


def test_a_path_that_leads_nowhere_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        read_seeds(tmp_path / "nothing.csv", PLAN)
    with pytest.raises(ConfigError, match="not a run directory"):
        read_seeds(tmp_path, PLAN)


@pytest.mark.parametrize("form", ["run", "seeds.csv", "seeds.parquet"])
def test_another_run_and_its_exports_are_seeds(tmp_path, form):
    run_rounds(tmp_path / "run", PLAN, [30, 30])
    if form != "run":
        export(tmp_path / "run", tmp_path / form)
    plan = square(seed=7, observables=[Observable(name="r", likelihood=Gauss(mean=0.3, sigma=0.2)),
                                       Observable(name="s", likelihood=Gauss(mean=1.0, sigma=0.2), valid=(0.0, 2.0))])
    seeds = read_seeds(tmp_path / form, plan)
    opened = Store.open(tmp_path / "next", plan, {})
    opened.add_seeds(seeds.x, seeds.observables, seeds.nll, seeds.status)
    opened.close()
    old, new = frame(tmp_path / "run"), frame(tmp_path / "next")
    old = old[old.status != "failed"].reset_index(drop=True)
    for name in ("x", "y", "k", "x2", "r", "s", "status"):
        pd.testing.assert_series_equal(new[name], old[name])
    run_rounds(tmp_path / "direct", plan, [30, 30])
    direct = frame(tmp_path / "direct")
    pd.testing.assert_series_equal(new.nll, direct.nll[direct.status != "failed"].reset_index(drop=True))
