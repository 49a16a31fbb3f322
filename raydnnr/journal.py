"""Journal: the rounds that are under way. What was proposed is here before it runs, what has finished soon after.

Of iteration 12: ``iteration-00012.proposal.arrow`` (written whole), ``iteration-00012.rows-0.arrows`` (a stream of
finished rows, appended to; every driver that goes on with the round starts a stream of its own) and
``iteration-00012.files-0.arrows`` (kept output files). A stream that was cut is read up to the cut.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from raydnnr.atomic import write_atomically
from raydnnr.evaluation import Points

PROPOSAL = re.compile(r"iteration-(\d{5,})\.proposal\.arrow")
FILES = pa.schema([("point_id", pa.int64()), ("name", pa.string()), ("data", pa.binary())])


class Stream:
    """An Arrow stream on disk that only grows. Every `write` reaches the operating system before it returns."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._buffer = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._buffer, schema)
        self._unsynced = False

    def write(self, table: pa.Table) -> None:
        """Append rows. Raises OSError when the disk is full; what was written before is safe."""
        self._writer.write_table(table.combine_chunks())
        data = memoryview(self._buffer.getvalue())
        while data:
            data = data[os.write(self._descriptor, data):]
        self._buffer.seek(0)
        self._buffer.truncate()
        self._unsynced = True

    def sync(self) -> None:
        """Let what was written reach the disk."""
        if self._unsynced:
            os.fsync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Close the file. The stream needs no end mark."""
        os.close(self._descriptor)


def read_stream(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole batches of a stream, up to where it was cut."""
    try:
        reader = pa.ipc.open_stream(io.BytesIO(path.read_bytes()))
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            yield batch
    except (pa.ArrowInvalid, OSError, StopIteration, EOFError):
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
        self._rows: Stream | None = None
        self._files: Stream | None = None

    def propose(self, points: Points) -> None:
        """Commit the points of the round before any of them runs."""
        n_params = points.x.shape[1]
        table = pa.table({
            "point_id": points.point_id, "origin": pa.array(list(points.origin), pa.string()),
            "nll_predicted": points.nll_predicted,
            **{f"x{k}": np.ascontiguousarray(points.x[:, k]) for k in range(n_params)},
        })
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        write_atomically(self._folder / f"{self._stem}.proposal.arrow", sink.getvalue())

    def proposed(self) -> Points:
        """The points of the round, as committed."""
        data = (self._folder / f"{self._stem}.proposal.arrow").read_bytes()
        table = pa.ipc.open_file(io.BytesIO(data)).read_all()
        x = np.column_stack([table.column(n).to_numpy() for n in table.column_names if re.fullmatch(r"x\d+", n)])
        return Points(table.column("point_id").to_numpy(), self.iteration, x, table.column("origin").to_pylist(),
                      table.column("nll_predicted").to_numpy())

    def append(self, rows: pa.Table) -> None:
        """Finished rows."""
        self._rows = self._rows or Stream(self._next("rows"), rows.schema)
        self._rows.write(rows)

    def append_files(self, files: Mapping[int, Mapping[str, bytes]]) -> None:
        """Kept output files, by point id and name."""
        flat = [(i, name, data) for i, some in files.items() for name, data in some.items()]
        if not flat:
            return
        self._files = self._files or Stream(self._next("files"), FILES)
        self._files.write(pa.table(list(zip(*flat, strict=True)), schema=FILES))

    def rows(self, schema: pa.Schema) -> list[pa.Table]:
        """Finished rows written so far, by this driver or earlier ones; rows of another schema are left out."""
        batches = [b for path in self._existing("rows") for b in read_stream(path)]
        return [pa.Table.from_batches([b.replace_schema_metadata(schema.metadata)]).cast(schema)
                for b in batches if b.schema.equals(schema)]

    def files(self) -> dict[int, dict[str, bytes]]:
        """Kept output files written so far."""
        found: dict[int, dict[str, bytes]] = {}
        for path in self._existing("files"):
            for batch in read_stream(path):
                for row in batch.to_pylist():
                    found.setdefault(row["point_id"], {})[row["name"]] = row["data"]
        return found

    def sync(self) -> None:
        """Let everything reach the disk."""
        for stream in (self._rows, self._files):
            if stream:
                stream.sync()

    def remove(self) -> None:
        """The round is in its shard: forget it."""
        self.close()
        for path in [*self._existing("rows"), *self._existing("files"), self._folder / f"{self._stem}.proposal.arrow"]:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open."""
        for stream in (self._rows, self._files):
            if stream:
                stream.close()
        self._rows = self._files = None

    def _existing(self, what: str) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stem}.{what}-*.arrows"))

    def _next(self, what: str) -> Path:
        return self._folder / f"{self._stem}.{what}-{len(self._existing(what)):03d}.arrows"


def open_rounds(folder: Path) -> list[int]:
    """Iterations that were proposed and are not in a shard yet."""
    return sorted(int(m[1]) for p in folder.iterdir() if (m := PROPOSAL.fullmatch(p.name)))
