"""Export: a run directory, finished or not, to files that other programs read. Needs no plan and disturbs no driver."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from raydnnr.atomic import write_atomically
from raydnnr.errors import ConfigError, RunDirectoryError
from raydnnr.journal import read_files, read_stream
from raydnnr.rundir import identity as identity
from raydnnr.rundir import threshold as threshold
from raydnnr.shards import NotAShard, read_parquet, span_of
from raydnnr.table import with_times

log = logging.getLogger(__name__)

READ_TRIES = 5  # a driver may move a file between our look at the folder and at the file
SHARED = 0o666  # exports are for others; the umask says for whom


@dataclass(frozen=True)
class Exported:
    """What an export wrote: how many points, where, and what was missing."""

    n_points: int
    destination: Path
    note: str = ""


def read_evaluations(run_dir: Path | str) -> pa.Table:
    """All finished evaluations of a run: shards and journal, ordered by point id, also while its driver works.

    Raises:
        RunDirectoryError: Not a run directory, or nothing finished yet.
    """
    run_dir = Path(run_dir)
    mark = identity(run_dir)["fingerprint"].encode()
    tables: list[pa.Table] = []
    for last_try in (*[False] * (READ_TRIES - 1), True):
        try:
            # The journal first: a round that is closed meanwhile is then in its shard, which is looked for later.
            journal = [pa.Table.from_batches([batch]) for batch in _journal(run_dir)]
            tables = [t for t in (*_shards(run_dir), *journal) if t.num_rows and _is_of(t, mark)]
            break
        except OSError as error:
            if last_try or not isinstance(error, FileNotFoundError):
                raise RunDirectoryError(f"{run_dir}: cannot be read: {error}") from error
    if not tables:
        raise RunDirectoryError(f"{run_dir}: no evaluation is finished yet")
    table = _joined(tables).sort_by("point_id")
    ids = table.column("point_id").to_numpy()
    first = np.ones(len(ids), bool)
    first[1:] = ids[1:] != ids[:-1]  # a round may be in its shard and still in the journal
    return table if first.all() else table.filter(pa.array(first))


def good(table: pa.Table, threshold_value: float) -> pa.Table:
    """The rows that are ``ok`` with an NLL below the threshold."""
    return table.filter(pc.and_(pc.equal(table["status"], "ok"), pc.less(table["nll"], threshold_value)))


def export(run_dir: Path | str, destination: Path | str, good_only: bool = False, format: str = "") -> Exported:
    """Write a run's evaluations for other programs.

    Args:
        run_dir: The run.
        destination: A file; for ``slha`` a folder; for ``getdist`` the root of the names.
        good_only: Leave out what is not good. ``slha`` and ``getdist`` always do.
        format: A word of `FORMATS`; by default what the file's name ends with.

    Raises:
        ConfigError: An unknown format, or a destination that cannot be written.
        RunDirectoryError: As `read_evaluations`.
    """
    run_dir, destination = Path(run_dir), Path(destination)
    word = format or destination.suffix.lstrip(".").lower()
    if word not in FORMATS:
        raise ConfigError(f"export: unknown format {word!r}; choose one of {', '.join(FORMATS)} with --format")
    table = read_evaluations(run_dir)
    if good_only or word in ("slha", "getdist"):
        table = good(table, threshold(run_dir))
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        return FORMATS[word](table, destination, run_dir)
    except OSError as error:
        raise ConfigError(f"export: {destination} cannot be written: {error.strerror or error}") from error


# ---- reading


def _journal(run_dir: Path) -> Iterator[pa.RecordBatch]:
    for path in sorted((run_dir / "journal").glob("iteration-*.rows-*.arrows")):
        try:
            yield from read_stream(path)
        except FileNotFoundError:  # its round is in a shard now
            continue


def _shards(run_dir: Path) -> Iterator[pa.Table]:
    """Those that can be read: the driver reports the others."""
    for path in sorted((run_dir / "evaluations").glob("*.parquet")):
        if span_of(path):
            try:
                yield read_parquet(path)
            except NotAShard as problem:
                log.warning("%s: left out: %s", path, problem)


def _is_of(table: pa.Table, mark: bytes) -> bool:
    return bool((table.schema.metadata or {}).get(b"fingerprint") == mark)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Tables of one scan. Their columns may stand in another order, under other labels: the newest are kept.

    Those of a version that did not time tools get the columns they lack.
    """
    widest = max((t.schema for t in tables), key=len)
    tables = [with_times(t, widest) for t in tables]
    (names, _), = Counter(frozenset(t.column_names) for t in tables).most_common(1)
    same = [t for t in tables if set(t.column_names) == names]
    schema = same[-1].schema
    return pa.concat_tables([t.select(schema.names).cast(schema) for t in same])


# ---- writing


def _csv(table: pa.Table, destination: Path, run_dir: Path) -> Exported:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    write_atomically(destination, memoryview(sink.getvalue()), SHARED)
    return Exported(table.num_rows, destination)


def _parquet(table: pa.Table, destination: Path, run_dir: Path) -> Exported:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(destination, memoryview(sink.getvalue()), SHARED)
    return Exported(table.num_rows, destination)


def _getdist(table: pa.Table, destination: Path, run_dir: Path) -> Exported:
    """``ROOT.txt`` (weight, NLL, parameters, derived values, observables), ``ROOT.paramnames`` and ``ROOT.ranges``.

    The points are not a posterior sample: all weights are 1. The ranges are those of the priors, ``N`` where there is
    no bound; derived values and observables, whose names end with a star, have none.
    """
    root = destination.with_suffix("") if destination.suffix == ".getdist" else destination
    parameters = _named(table, "parameter")
    names = parameters + _named(table, "derived") + _named(table, "observable")
    columns = [np.ones(table.num_rows), table["nll"].to_numpy(), *(table[n].to_numpy() for n in names)]
    text = io.BytesIO()
    np.savetxt(text, np.column_stack(columns), fmt="%.10g")
    labels = [f"{n}{'' if n in parameters else '*'}\t{_label(table, n)}" for n in names]
    bounds = json.loads(identity(run_dir).get("ranges", "{}"))
    ranges = [" ".join([n, *(f"{b:.10g}" if np.isfinite(b) else "N" for b in bounds[n])]) for n in names if n in bounds]
    for suffix, data in ((".txt", text.getvalue()), (".paramnames", ("\n".join(labels) + "\n").encode()),
                         (".ranges", ("\n".join(ranges) + "\n").encode())):
        write_atomically(root.with_name(root.name + suffix), data, SHARED)
    return Exported(table.num_rows, root, "all weights are 1: the points are not a posterior sample")


def _slha(table: pa.Table, destination: Path, run_dir: Path) -> Exported:
    """A folder with the kept output files of every good point: ``000000123-spectrum.slha``."""
    destination.mkdir(parents=True, exist_ok=True)
    wanted = set(table["point_id"].to_pylist())
    written = set()
    for point_id, name, data in _kept_files(run_dir, wanted):
        write_atomically(destination / f"{point_id:09d}-{Path(name).name}", data, SHARED)
        written.add(point_id)
    missing = len(wanted) - len(written)
    return Exported(len(written), destination,
                    f"{missing} of {len(wanted)} good points have no kept files (keep_files of their tool)"
                    if missing else "")


def _kept_files(run_dir: Path, wanted: set[int]) -> Iterator[tuple[int, str, bytes]]:
    """Point id, name and content; the journal first, as in `read_evaluations`."""
    for path in sorted((run_dir / "journal").glob("iteration-*.files-*.arrows")):
        try:
            yield from (entry for entry in read_files(path) if entry[0] in wanted)
        except FileNotFoundError:  # its round is in an archive now
            continue
    for path in sorted((run_dir / "files").glob("iteration-*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    point_id, _, name = entry.partition("/")
                    if point_id.isdecimal() and int(point_id) in wanted:
                        yield int(point_id), name, archive.read(entry)
        except (zipfile.BadZipFile, EOFError) as error:
            log.warning("%s: left out: %s", path, error)


def _named(table: pa.Table, role: str) -> list[str]:
    return [f.name for f in table.schema if (f.metadata or {}).get(b"role") == role.encode()]


def _label(table: pa.Table, name: str) -> str:
    latex: str = (table.schema.field(name).metadata or {}).get(b"latex", b"").decode()
    return latex or name.replace("_", r"\_")


FORMATS: dict[str, Callable[[pa.Table, Path, Path], Exported]] = {
    "csv": _csv, "parquet": _parquet, "getdist": _getdist, "slha": _slha,
}
