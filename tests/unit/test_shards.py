"""A shard is read back as it was written, or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr import Gauss, Observable
from raydnnr.evaluation import Points, score
from raydnnr.shards import NotAShard, Span, read_shard, rescored, span_of, with_known_nll, write_shard
from raydnnr.table import Layout, column
from tests.unit.plans import square
from tests.unit.runs import physics, proposal

PLAN = square()
LAYOUT = Layout(PLAN)


def table(plan=PLAN, iteration=3, n=20):
    chosen = proposal(n)
    points = Points(np.arange(n), iteration, chosen.x, list(chosen.origin), chosen.nll_predicted)
    return Layout(plan).rows(points, score(physics(points), plan.likelihoods))


def content(rows=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Span(3, 3).file_name
        write_shard(path, table() if rows is None else rows)
        return path.read_bytes()


WHOLE = content()


def read(data, name=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (name or Span(3, 3).file_name)
        path.write_bytes(data)
        return read_shard(path, LAYOUT.schema)


def test_a_shard_comes_back_with_everything_it_says():
    assert read(WHOLE).schema.equals(LAYOUT.schema, check_metadata=True)
    assert read(WHOLE).to_pandas().equals(table().to_pandas())


def test_rows_make_the_same_bytes_every_time():
    assert content() == WHOLE


@given(st.integers(0, len(WHOLE) - 1))
def test_a_shard_cut_at_any_byte_is_seen(cut):
    with pytest.raises(NotAShard, match="damaged"):
        read(WHOLE[:cut])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_shard_with_a_wrong_byte_is_seen_or_means_the_same(where, bits):
    bad = bytearray(WHOLE)
    bad[where] ^= bits
    try:
        rows = read(bytes(bad))
    except NotAShard:
        return
    assert rows.to_pandas().equals(table().to_pandas())


def changed(name, values):
    rows = table()
    return rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)


ORDER = pa.array([1, 0, *range(2, 20)], pa.int64())


@pytest.mark.parametrize(("data", "problem"), [
    (b"", "damaged"),
    (b"PAR1" * 100, "damaged"),
    (content(table(square(observables=[Observable(name="r", likelihood=Gauss(mean=1, sigma=1))]))), "another scan"),
    (content(table(square(seed=77))), "belongs to another scan"),
    (content(table(iteration=4)), "another iteration"),
    (content(changed("point_id", ORDER)), "not in their order"),
    (content(changed("point_id", pa.array([0, 0, *range(2, 20)], pa.int64()))), "not in their order"),
    (content(changed("point_id", pa.array(range(-1, 19), pa.int64()))), "another iteration"),
    (content(changed("r", pa.array([None] * 20, pa.float64()))), "empty cells"),
    (content(changed("status", pa.array(["fine"] * 20))), "a status that is none"),
    (content(table().cast(pa.schema([f.with_type(pa.float32()) if f.name == "r" else f for f in LAYOUT.schema],
                                    metadata=LAYOUT.schema.metadata))), "other types"),
    (content(table().replace_schema_metadata(None)), "belongs to another scan"),
], ids=["empty", "rubbish", "other columns", "other seed", "other iteration", "order", "twice", "negative", "null",
        "status", "types", "no metadata"])
def test_what_is_no_shard_of_this_scan_is_said_so(data, problem):
    with pytest.raises(NotAShard, match=problem):
        read(data)


def test_a_folder_or_another_name_is_no_shard(tmp_path):
    (tmp_path / Span(3, 3).file_name).mkdir()
    with pytest.raises(NotAShard, match="not a file"):
        read_shard(tmp_path / Span(3, 3).file_name, LAYOUT.schema)
    with pytest.raises(NotAShard, match="not the name"):
        read(WHOLE, "iteration-00003 (copy).parquet")
    with pytest.raises(FileNotFoundError):
        read_shard(tmp_path / Span(4, 4).file_name, LAYOUT.schema)


def test_columns_in_another_order_are_put_in_ours():
    names = LAYOUT.schema.names
    rows = read(content(table().select(names[::-1]).replace_schema_metadata(LAYOUT.schema.metadata)))
    assert rows.column_names == names
    assert rows.to_pandas().equals(table().to_pandas())


def test_names_of_shards_and_back():
    spans = [Span(0, 0), Span(12, 12), Span(123456, 123456), Span(0, 0, seeds=True), Span(0, 127), Span(99000, 100000)]
    assert [span_of(Path(span.file_name)) for span in spans] == spans
    assert [Span(n, n).file_name for n in (0, 12)] == ["iteration-00000.parquet", "iteration-00012.parquet"]
    for name in ("iteration-1.parquet", "iteration-00001.parquet.bak", "iteration-12345678901.parquet", "x.parquet",
                 "iteration-00007-00007.parquet", "iteration-00007-0008.parquet", "iteration-00007-00008-csv.parquet"):
        assert span_of(Path(name)) is None


def test_other_readers_see_texts_as_texts(tmp_path):
    write_shard(tmp_path / Span(3, 3).file_name, table())
    assert str(pq.read_schema(tmp_path / Span(3, 3).file_name).field("status").type) == "string"


def test_new_likelihoods_score_old_rows():
    other = square(observables=[Observable(name="r", likelihood=Gauss(mean=0.5, sigma=0.5)),
                                Observable(name="s", likelihood=Gauss(mean=0.5, sigma=0.2), valid=(0.0, 2.0))])
    assert other.fingerprint == PLAN.fingerprint
    assert other.scoring != PLAN.scoring
    assert rescored(table(), Layout(other)).to_pandas().equals(table(other).to_pandas())
    assert rescored(table(), Layout(other)).schema.equals(Layout(other).schema, check_metadata=True)


def test_an_nll_without_observables_stays():
    rows = physics(Points(np.arange(4), 0, proposal(4).x, ["csv"] * 4, np.full(4, np.nan)))
    rows.observables[:] = np.nan
    rows.status[:] = [0, 0, 1, 1]
    scored = with_known_nll(score(rows, PLAN.likelihoods), np.array([1.5, 2.5, 3.5, np.nan]))
    points = Points(rows.point_id, 0, proposal(4).x, ["csv"] * 4, np.full(4, np.nan))
    nll = column(rescored(LAYOUT.rows(points, scored), LAYOUT), "nll")
    assert nll[:3].tolist() == [1.5, 2.5, 3.5]
    assert nll[3] == pytest.approx(2 * 710.7827)
