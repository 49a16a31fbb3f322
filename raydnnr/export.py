"""Export: a run directory, finished or not, to files that other programs read. Needs no plan and disturbs no driver."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from raydnnr.atomic import write_atomically
from raydnnr.errors import ConfigError, RunDirectoryError
from raydnnr.journal import open_rounds, read_stream
from raydnnr.table import SHARD

READ_TRIES = 5  # a driver may close a round between our look at the folder and at the file


@dataclass(frozen=True)
class Exported:
    """What an export wrote: how many points, where, and what was missing."""

    n_points: int
    destination: Path
    note: str = ""


def identity(run_dir: Path) -> dict[str, object]:
    """What a run directory says of its scan.

    Raises:
        RunDirectoryError: It is none.
    """
    try:
        held: dict[str, object] = json.loads((run_dir / "identity.json").read_text())
    except FileNotFoundError:
        raise RunDirectoryError(f"{run_dir}: not a run directory of raydnnr (it has no identity.json)") from None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{run_dir}/identity.json: unreadable ({error})") from None
    return held


def threshold(run_dir: Path) -> float:
    """The NLL below which a point of this run is good."""
    return float(str(identity(run_dir)["threshold_value"]))


def read_evaluations(run_dir: Path | str) -> pa.Table:
    """All finished evaluations of a run: shards and journal, ordered by point id, also while its driver works.

    Raises:
        RunDirectoryError: Not a run directory, or nothing finished yet.
    """
    run_dir = Path(run_dir)
    mark = str(identity(run_dir)["fingerprint"]).encode()
    for _ in range(READ_TRIES):
        try:
            tables = _read_all(run_dir, mark)
            break
        except FileNotFoundError:
            continue
    if not tables:
        raise RunDirectoryError(f"{run_dir}: no evaluation is finished yet")
    table = pa.concat_tables(tables).sort_by("point_id")
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
        note = FORMATS[word](table, destination, run_dir)
    except OSError as error:
        raise ConfigError(f"export: {destination} cannot be written: {error.strerror}") from error
    return Exported(table.num_rows, destination, note)


def _read_all(run_dir: Path, mark: bytes) -> list[pa.Table]:
    journal = []
    for iteration in open_rounds(run_dir / "journal"):
        for path in sorted((run_dir / "journal").glob(f"iteration-{iteration:05d}.rows-*.arrows")):
            journal += [pa.Table.from_batches([b]) for b in read_stream(path)]
    shards = [t for path in sorted((run_dir / "evaluations").iterdir()) if SHARD.fullmatch(path.name)
              and (t := _shard(path, mark)) is not None]
    found = [t for t in shards + journal if t.num_rows]
    if not found:
        return []
    schema = (shards or journal)[0].schema
    return [t.replace_schema_metadata(schema.metadata) for t in found if t.schema.equals(schema)]


def _shard(path: Path, mark: bytes) -> pa.Table | None:
    """None for a file that is damaged or another scan's: the driver reports those."""
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        return None
    return table if (table.schema.metadata or {}).get(b"fingerprint") == mark else None


def _csv(table: pa.Table, destination: Path, run_dir: Path) -> str:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    write_atomically(destination, sink.getvalue())
    return ""


def _parquet(table: pa.Table, destination: Path, run_dir: Path) -> str:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(destination, sink.getvalue())
    return ""


def _getdist(table: pa.Table, destination: Path, run_dir: Path) -> str:
    """``ROOT.txt`` (weight 1, NLL, parameters, derived values, observables), ``ROOT.paramnames`` and ``ROOT.ranges``.

    The points are not a posterior sample: all weights are 1.
    """
    root = destination.with_suffix("") if destination.suffix == ".getdist" else destination
    names = _named(table, "parameter") + _named(table, "derived") + _named(table, "observable")
    columns = [np.ones(table.num_rows), table["nll"].to_numpy(), *(table[n].to_numpy() for n in names)]
    text = io.BytesIO()
    np.savetxt(text, np.column_stack(columns), fmt="%.10g")
    write_atomically(root.with_name(root.name + ".txt"), text.getvalue())
    scanned = set(_named(table, "parameter"))
    labels = (f"{n}{'' if n in scanned else '*'}\t{_label(table, n)}" for n in names)
    write_atomically(root.with_name(root.name + ".paramnames"), ("\n".join(labels) + "\n").encode())
    ranges = (f"{n} {pc.min(table[n]).as_py()} {pc.max(table[n]).as_py()}" for n in names if n in scanned)
    write_atomically(root.with_name(root.name + ".ranges"), ("\n".join(ranges) + "\n").encode())
    return "all weights are 1: the points are not a posterior sample"


def _slha(table: pa.Table, destination: Path, run_dir: Path) -> str:
    """A folder with the kept output files of every good point: ``000000123-spectrum.slha``."""
    destination.mkdir(parents=True, exist_ok=True)
    wanted, written = set(table["point_id"].to_pylist()), set()
    for point_id, name, data in _kept_files(run_dir):
        if point_id in wanted:
            write_atomically(destination / f"{point_id:09d}-{Path(name).name}", data)
            written.add(point_id)
    missing = len(wanted - written)
    return f"{missing} of {len(wanted)} good points have no kept files (keep_files of their tool)" if missing else ""


def _kept_files(run_dir: Path) -> list[tuple[int, str, bytes]]:
    found = []
    for path in sorted((run_dir / "files").glob("iteration-*.zip")):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                point_id, _, name = entry.partition("/")
                found.append((int(point_id), name, archive.read(entry)))
    for path in sorted((run_dir / "journal").glob("iteration-*.files-*.arrows")):
        for batch in read_stream(path):
            found += [(r["point_id"], r["name"], r["data"]) for r in batch.to_pylist()]
    return found


def _named(table: pa.Table, role: str) -> list[str]:
    return [f.name for f in table.schema if (f.metadata or {}).get(b"role") == role.encode()]


def _label(table: pa.Table, name: str) -> str:
    latex: str = (table.schema.field(name).metadata or {}).get(b"latex", b"").decode()
    return latex or name.replace("_", r"\_")


FORMATS: dict[str, Callable[[pa.Table, Path, Path], str]] = {
    "csv": _csv, "parquet": _parquet, "getdist": _getdist, "slha": _slha,
}
