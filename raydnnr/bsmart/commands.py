"""The commands ``import-bsmart`` and ``read-bsmart``, as functions that say what they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raydnnr.bsmart.importer import import_bsmart, write
from raydnnr.errors import ConfigError

Say = Callable[[str], None]


def import_command(source: Path, output: Path | None, say: Say, *, force: bool = False) -> Path:
    """Translate a JSON file, write the configuration, and check it.

    Args:
        source: BSMArt's file.
        output: The configuration; by default beside the file.
        say: Gets lines for people.
        force: Write over files that are there.

    Returns:
        The configuration.

    Raises:
        ConfigError: It is no BSMArt input, or files are already there.
    """
    output = source.with_suffix(".toml") if output is None else output
    if output.suffix != ".toml":
        raise ConfigError(f"-o {output}: a configuration is a .toml file")
    imported = import_bsmart(source, output)
    written = write(imported, source, output, force=force)
    for line in imported.report.lines():
        say(line)
    say(f"written: {', '.join(str(p) for p in written)}")
    for problem in _problems(output):
        say(f"still missing: {problem}")
    say(f"next: raydnnr check {output}")
    return output


def read_command(run_dir: Path, source: Path | None, output: Path | None, say: Say) -> Path:
    """Turn CSV files of a BSMArt run into an evaluation table.

    Args:
        run_dir: The folder of the run, or one file in it.
        source: The JSON file of the run: then losses and NLL are computed, and columns have their roles.
        output: The Parquet file; by default beside the folder, with its name.
        say: Gets lines for people.

    Returns:
        The table.

    Raises:
        ConfigError: Nothing to read, or it cannot be written.
    """
    import pyarrow.parquet as pq

    from raydnnr.atomic import replacing
    from raydnnr.bsmart.tables import Meaning, evaluations, read_run, statuses

    output = Path(f"{str(run_dir).rstrip('/')}.parquet") if output is None else output
    old = read_run(run_dir)
    meaning = None
    if source is not None:
        imported = import_bsmart(source, source.with_suffix(".toml"))
        meaning = Meaning.of(imported.config, imported.names)
    table = evaluations(old, meaning)
    try:
        with replacing(output) as file:
            pq.write_table(table, file)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None
    for remark in old.remarks:
        say(remark)
    counts = ", ".join(f"{n} {status}" for status, n in statuses(old).items())
    say(f"{old.n_rows} points ({counts}) written to {output}")
    if meaning is None and table["nll"].null_count + sum(v != v for v in table["nll"].to_pylist()) == old.n_rows:
        say("no NLL: give the JSON file of the run with --json, and it is computed from the observables")
    return output


def _problems(config: Path) -> list[str]:
    """What keeps the configuration from being run."""
    from raydnnr.config import load

    try:
        return load(config).toolchain.check()
    except ConfigError as error:
        return [str(error)]
