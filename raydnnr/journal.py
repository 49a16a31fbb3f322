"""Journal: the rounds that are under way. What was proposed is here before it runs, what has finished soon after.

Of iteration 12: ``iteration-00012.proposal.arrow`` (written whole), ``iteration-00012.rows-000.arrows`` (a stream of
finished rows, appended to; every driver that goes on with the round starts a stream of its own) and
``iteration-00012.files-000.arrows`` (kept output files). A stream that was cut is read up to the cut.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from raydnnr.atomic import PRIVATE, replacing, write_atomically
from raydnnr.evaluation import Points

FILE = re.compile(r"iteration-(\d{5,9})\.(?:proposal\.arrow|(?:rows|files)-\d{3,}\.arrows)")
FILES = pa.schema([("point_id", pa.int64()), ("name", pa.string()), ("data", pa.binary())])


class Stream:
    """An Arrow stream on disk that only grows. Every `write` reaches the operating system before it returns."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        self._schema = schema
        self._n_bytes = 0  # written and whole
        self._unsynced = False

    def write(self, table: pa.Table) -> None:
        """Append rows.

        Raises:
            OSError: They could not be written. The stream is as before, and may be written to again.
        """
        parts = [batch.serialize() for batch in table.combine_chunks().to_batches()]
        if not self._n_bytes:
            parts.insert(0, self._schema.serialize())
        try:
            for part in parts:
                self._write(memoryview(part))
        except OSError:
            os.ftruncate(self._descriptor, self._n_bytes)  # no torn rows in the middle of the stream
            os.lseek(self._descriptor, self._n_bytes, os.SEEK_SET)
            raise
        self._n_bytes += sum(len(part) for part in parts)
        self._unsynced = True

    def sync(self) -> None:
        """Let what was written reach the disk."""
        if self._unsynced:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Close the file. The stream needs no end mark."""
        os.close(self._descriptor)

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor, data):]


def read_stream(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole batches of a stream, up to where it was cut.

    Raises:
        OSError: The file system does not give the file.
    """
    with path.open("rb") as file:
        try:
            with pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    batch.validate(full=True)
                    yield batch
        except OSError as error:  # without a number it is Arrow's: cut in the middle of a batch
            if error.errno is not None:
                raise
        except (pa.ArrowException, ValueError, MemoryError):  # damaged: a length may be anything
            return


class RoundJournal:
    """The files of one round.

    Args:
        folder: ``journal/`` of the run directory.
        iteration: Its number.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self._folder, self._stem = folder, f"iteration-{iteration:05d}"
        self.iteration = iteration
        self.proposal = folder / f"{self._stem}.proposal.arrow"
        self._rows: Stream | None = None
        self._files: Stream | None = None

    def propose(self, points: Points, names: Sequence[str]) -> None:
        """Commit the points of the round before any of them runs.

        Args:
            points: All of them.
            names: Of the P columns of ``points.x``.
        """
        table = pa.table({
            "point_id": points.point_id, "origin": pa.array(list(points.origin), pa.string()),
            "nll_predicted": points.nll_predicted,
            **{name: np.ascontiguousarray(points.x[:, k]) for k, name in enumerate(names)},
        })
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        write_atomically(self.proposal, memoryview(sink.getvalue()))

    def proposed(self, names: Sequence[str]) -> Points:
        """The points of the round, as committed.

        Raises:
            ValueError: The file is not there, or damaged.
        """
        try:
            table = pa.ipc.open_file(pa.py_buffer(self.proposal.read_bytes())).read_all()
            table.validate(full=True)
            x = np.column_stack([table.column(name).to_numpy() for name in names])
            return Points(table.column("point_id").to_numpy(), self.iteration, x, table.column("origin").to_pylist(),
                          table.column("nll_predicted").to_numpy())
        except (pa.ArrowException, KeyError, FileNotFoundError) as error:
            raise ValueError(str(error).splitlines()[0]) from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise ValueError(str(error).splitlines()[0]) from None

    def append(self, rows: pa.Table) -> None:
        """Finished rows."""
        self._rows = self._rows or Stream(self._next("rows"), rows.schema)
        self._rows.write(rows)

    def append_files(self, files: Mapping[int, Mapping[str, bytes]]) -> None:
        """Kept output files, by point id and name."""
        flat = [(i, name, data) for i, some in files.items() for name, data in some.items()]
        if flat:
            self._files = self._files or Stream(self._next("files"), FILES)
            columns = [pa.array(c, f.type) for c, f in zip(zip(*flat, strict=True), FILES, strict=True)]
            self._files.write(pa.Table.from_arrays(columns, schema=FILES))

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Finished rows written so far, by this driver or earlier ones."""
        for path in self._existing("rows"):
            yield from read_stream(path)

    def files(self) -> Iterator[tuple[int, str, bytes]]:
        """Kept output files written so far: point id, name, content."""
        for path in self._existing("files"):
            yield from read_files(path)

    def files_bytes(self) -> int:
        """Size of the kept output files that were written by earlier drivers."""
        return sum(path.stat().st_size for path in self._existing("files"))

    def rewrite(self, rows: pa.Table) -> None:
        """Put these rows in the place of all that were written."""
        old, path = self._existing("rows"), self._next("rows")
        with replacing(path) as file, pa.ipc.new_stream(file, rows.schema) as writer:
            writer.write_table(rows)
        for each in old:
            each.unlink(missing_ok=True)

    def sync(self) -> None:
        """Let everything reach the disk."""
        for stream in (self._rows, self._files):
            if stream:
                stream.sync()

    def remove_streams(self) -> None:
        """The round is in its shard: forget its rows. What was proposed stays."""
        self.close()
        for path in [*self._existing("rows"), *self._existing("files")]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Forget the round."""
        self.remove_streams()
        self.proposal.unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open."""
        for stream in (self._rows, self._files):
            if stream:
                stream.close()
        self._rows = self._files = None

    def _existing(self, what: str) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stem}.{what}-*.arrows"))

    def _next(self, what: str) -> Path:
        numbers = [int(path.stem.rpartition("-")[2]) for path in self._existing(what)]
        return self._folder / f"{self._stem}.{what}-{max(numbers, default=-1) + 1:03d}.arrows"


def read_files(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Point id, name and content of the files in a stream."""
    for batch in read_stream(path):
        if batch.schema.equals(FILES):
            ids, names, data = (batch.column(k) for k in range(3))
            yield from ((ids[k].as_py(), names[k].as_py(), data[k].as_py()) for k in range(batch.num_rows))


def rounds_in(folder: Path) -> list[int]:
    """Iterations of which the journal knows something."""
    names: Iterable[str] = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted({int(match[1]) for name in names if (match := FILE.fullmatch(name))})
