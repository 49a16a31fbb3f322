"""The journal keeps every whole batch, wherever a stream is cut, and never a half one."""

from __future__ import annotations

import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.evaluation import Points
from raydnnr.journal import RoundJournal, Stream, read_files, read_stream, rounds_in

NUMBERS = pa.schema([("n", pa.int64()), ("word", pa.string())])


def batch(start, n):
    return pa.table({"n": range(start, start + n), "word": [f"w{k}" for k in range(start, start + n)]}, schema=NUMBERS)


def written(folder, sizes):
    """A stream of batches of these sizes; its bytes and where each batch ends."""
    path = folder / "stream.arrows"
    stream, ends, start = Stream(path, NUMBERS), [], 0
    for n in sizes:
        stream.write(batch(start, n))
        ends.append(path.stat().st_size)
        start += n
    stream.close()
    return path.read_bytes(), ends


def read(path):
    return [n for b in read_stream(path) for n in b.column("n").to_pylist()]


@contextmanager
def no_file_larger_than(n_bytes):
    """A disk that is full, as far as one process can see."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.data())
def test_a_stream_cut_at_any_byte_gives_its_whole_batches(sizes, data):
    with tempfile.TemporaryDirectory() as folder:
        content, ends = written(Path(folder), sizes)
        cut = data.draw(st.integers(0, len(content)), label="cut at byte")
        torn = Path(folder) / "torn.arrows"
        torn.write_bytes(content[:cut])
        n_whole = sum(end <= cut for end in ends)
        assert read(torn) == list(range(sum(sizes[:n_whole])))


@given(st.data())
def test_a_damaged_stream_is_read_without_an_error(data):
    with tempfile.TemporaryDirectory() as folder:
        content, _ = written(Path(folder), [5, 5])
        where = data.draw(st.integers(0, len(content) - 1), label="damaged byte")
        bad = bytearray(content)
        bad[where] ^= data.draw(st.integers(1, 255), label="bits")
        (Path(folder) / "bad.arrows").write_bytes(bad)
        assert sum(b.num_rows for b in read_stream(Path(folder) / "bad.arrows")) <= 10


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_stream(tmp_path / "nothing.arrows"))


@pytest.mark.parametrize("room", [0, 10, 500, 900])
def test_rows_that_did_not_fit_leave_the_stream_whole(tmp_path, room):
    path = tmp_path / "stream.arrows"
    stream = Stream(path, NUMBERS)
    stream.write(batch(0, 10))
    size = path.stat().st_size
    with no_file_larger_than(size + room), pytest.raises(OSError, match="File too large"):
        stream.write(batch(10, 500))
    assert path.stat().st_size == size
    assert read(path) == list(range(10))
    stream.write(batch(10, 10))  # there is room again
    assert read(path) == list(range(20))
    stream.close()


def test_a_stream_of_which_nothing_fitted_begins_anew(tmp_path):
    stream = Stream(tmp_path / "stream.arrows", NUMBERS)
    with no_file_larger_than(20), pytest.raises(OSError, match="File too large"):
        stream.write(batch(0, 10))
    stream.write(batch(0, 10))
    stream.close()
    assert read(tmp_path / "stream.arrows") == list(range(10))


def points(n=4):
    rng = np.random.default_rng(1)
    return Points(np.arange(10, 10 + n), 3, rng.random((n, 2)), ["bootstrap"] * n, np.full(n, np.nan))


def test_a_proposal_comes_back_as_it_was_committed(tmp_path):
    journal = RoundJournal(tmp_path, 3)
    journal.propose(points(), ["a", "b"])
    back = RoundJournal(tmp_path, 3).proposed(["a", "b"])
    for name in ("point_id", "x", "nll_predicted"):
        np.testing.assert_array_equal(getattr(back, name), getattr(points(), name))
    assert (back.iteration, back.origin) == (3, points().origin)
    assert journal.proposal.stat().st_mode & 0o777 == 0o600


def test_a_proposal_finds_its_columns_by_name(tmp_path):
    RoundJournal(tmp_path, 3).propose(points(), ["a", "b"])
    np.testing.assert_array_equal(RoundJournal(tmp_path, 3).proposed(["b", "a"]).x, points().x[:, ::-1])


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"x" * 500, None], ids=["empty", "head", "rubbish", "cut"])
def test_a_damaged_proposal_is_an_error_that_can_be_told(tmp_path, content):
    journal = RoundJournal(tmp_path, 3)
    journal.propose(points(), ["a", "b"])
    whole = journal.proposal.read_bytes()
    journal.proposal.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"\w"):
        journal.proposed(["a", "b"])


def test_every_driver_appends_to_a_stream_of_its_own(tmp_path):
    for k in range(3):
        journal = RoundJournal(tmp_path, 3)
        journal.append(batch(10 * k, 10))
        journal.append_files({k: {"a": b"1", "b": b"2"}})
        journal.close()
    assert [n for b in journal.rows() for n in b.column("n").to_pylist()] == list(range(30))
    assert list(journal.files()) == [(k, name, data) for k in range(3) for name, data in (("a", b"1"), ("b", b"2"))]
    assert len(list(tmp_path.glob("*.rows-*.arrows"))) == 3


def test_rewritten_rows_take_the_place_of_all_others(tmp_path):
    journal = RoundJournal(tmp_path, 3)
    journal.append(batch(0, 10))
    journal.append(batch(10, 10))
    journal.rewrite(batch(100, 5))
    assert [n for b in journal.rows() for n in b.column("n").to_pylist()] == list(range(100, 105))
    journal.close()


def test_removing_leaves_nothing_or_what_was_proposed(tmp_path):
    journal = RoundJournal(tmp_path, 3)
    journal.propose(points(), ["a", "b"])
    journal.append(batch(0, 10))
    journal.append_files({1: {"a": b"1"}})
    journal.remove_streams()
    assert [path.name for path in tmp_path.iterdir()] == ["iteration-00003.proposal.arrow"]
    journal.remove()
    assert not list(tmp_path.iterdir())


def test_rounds_are_found_by_any_of_their_files_and_by_nothing_else(tmp_path):
    for name in ("iteration-00003.proposal.arrow", "iteration-00007.rows-000.arrows", "iteration-00008.txt",
                 "iteration-00007.files-000.arrows", "iteration-9.proposal.arrow", "notes",
                 ".iteration-00010.proposal.arrow.tmp"):
        (tmp_path / name).touch()
    assert rounds_in(tmp_path) == [3, 7]
    assert rounds_in(tmp_path / "nothing") == []


@settings(max_examples=20)
@given(st.dictionaries(st.integers(0, 2**62), st.dictionaries(st.text(min_size=1), st.binary(), min_size=1),
                       min_size=1))
def test_kept_files_come_back(files):
    with tempfile.TemporaryDirectory() as folder:
        journal = RoundJournal(Path(folder), 0)
        journal.append_files(files)
        journal.close()
        back: dict[int, dict[str, bytes]] = {}
        for point_id, name, data in read_files(next(Path(folder).iterdir())):
            back.setdefault(point_id, {})[name] = data
        assert back == files
