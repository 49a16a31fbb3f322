"""The console script ``raydnnr``: run, check, new, status, export, and what BSMArt left."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raydnnr.errors import ConfigError, RaydnnrError
from raydnnr.run import EXIT_CONFIG, EXIT_ERROR
from raydnnr.run import main as run_main
from raydnnr.run import parser as run_parser

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import RenderableType

EPILOG = """\
examples:
  raydnnr run configs/quickstart.toml
  raydnnr check scan.toml --point random
  raydnnr status runs/quickstart
  raydnnr export runs/quickstart --good -o good.csv
  raydnnr predict runs/quickstart points.csv -o predicted.csv
"""
LATEST = 5  # iterations and points shown
STALE_S = 30.0  # a running driver writes status.json every 2 s


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["run"]:
        return run_main(words[1:])
    arguments = parser().parse_args(words)
    try:
        status: int = arguments.command(arguments)
        return status
    except ConfigError as error:
        print(f"ConfigError: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except RaydnnrError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        return EXIT_ERROR


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(prog="raydnnr", epilog=EPILOG, formatter_class=raw,
                                description="Scan a model's parameter space, and look at scans.")
    commands = p.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="run a scan, or go on with one", parents=[run_parser()], add_help=False)
    check = commands.add_parser("check", help="check a configuration, its tools and files; run nothing")
    check.add_argument("config", metavar="CONFIG.toml")
    check.add_argument("--run-dir", metavar="DIR", help="check that this run directory can be used")
    check.add_argument("--set", metavar="TABLE.KEY=VALUE", action="append", default=[], dest="overrides")
    check.add_argument("--point", nargs="?", const="middle", metavar="WHICH",
                       help="run one point, too, and tell all: middle (of the priors), random, best (of the scan so "
                            "far), or values such as m0=500,tanb=10; what is not named is in the middle")
    check.add_argument("--keep", metavar="FOLDER", help="copy the files of that point there")
    check.set_defaults(command=_check)
    _add_new(commands)
    status = commands.add_parser("status", help="where a scan stands, running or not")
    status.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)
    export = commands.add_parser(
        "export", help="write evaluations for other programs", formatter_class=raw,
        epilog="formats: csv, parquet; getdist (text chains, good points, all weights 1); slha (a folder with\n"
               "the kept files of every good point)\n\nexample: raydnnr export runs/cmssm --format slha -o spectra/")
    export.add_argument("run_dir", metavar="RUN_DIR", type=Path)
    export.add_argument("-o", "--output", metavar="FILE", type=Path, required=True)
    export.add_argument("--good", action="store_true", help="good points only")
    export.add_argument("--format", default="", help="csv, parquet, getdist or slha; by default from the file's name")
    export.set_defaults(command=_export)
    _add_predict(commands)
    _add_bsmart(commands)
    return p


def _add_new(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command that writes configurations."""
    new = commands.add_parser(
        "new", help="write a commented configuration for the codes you name",
        epilog="example: raydnnr new cmssm.toml --tools softsusy,gm2calc --scan m0=100:3000 tanb=2:60:log",
        description="Without --tools, it asks.")
    new.add_argument("config", metavar="CONFIG.toml", type=Path)
    new.add_argument("--tools", metavar="KIND,...", help="kinds of tools, in the order they run")
    new.add_argument("--scan", metavar="NAME=LOW:HIGH[:PRIOR]", nargs="+", default=[], help="what to scan")
    new.add_argument("--method", default="", help="search method")
    new.set_defaults(command=_new)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command that asks a run's surrogate."""
    predict = commands.add_parser(
        "predict", help="what a run's surrogate expects of points, without running physics",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Predict observables, NLL, and the probabilities of being valid and good, with uncertainties.",
        epilog="The table has a column for every scanned parameter. Written are the parameters; every observable with\n"
               "a likelihood, and NAME_std, its standard deviation; nll_predicted with nll_low and nll_high (16 % and\n"
               "84 % quantiles); p_valid and p_good. Rows outside the priors have no prediction.\n\n"
               "example: raydnnr predict runs/cmssm points.csv -o predicted.parquet")
    predict.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run of a method that saves its surrogate "
                         "(hybrid)")
    predict.add_argument("points", metavar="POINTS", type=Path, help="CSV or Parquet")
    predict.add_argument("-o", "--output", metavar="FILE", type=Path, help="CSV or Parquet, by its name; by default "
                         "CSV to stdout")
    predict.set_defaults(command=_predict)


def _add_bsmart(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands for those who come from BSMArt."""
    translate = commands.add_parser("import-bsmart", help="make a configuration of a BSMArt JSON file")
    translate.add_argument("source", metavar="SCAN.json", type=Path)
    translate.add_argument("-o", "--output", metavar="CONFIG.toml", type=Path, help="by default beside the file")
    translate.add_argument("--force", action="store_true", help="write over files that are there")
    translate.set_defaults(command=_import_bsmart)
    read = commands.add_parser("read-bsmart", help="make an evaluation table of the CSV files of a BSMArt run")
    read.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="its folder, or a CSV file")
    read.add_argument("-o", "--output", metavar="TABLE.parquet", type=Path, help="by default beside the folder")
    read.add_argument("--json", metavar="SCAN.json", type=Path, dest="source", help="the input of the run, to score by")
    read.set_defaults(command=_read_bsmart)


def _new(arguments: argparse.Namespace) -> int:
    from raydnnr.config import DEFAULT_METHOD
    from raydnnr.newconfig import interview, new_config, parse_range

    tools, ranges = (arguments.tools or "").split(","), [parse_range(word) for word in arguments.scan]
    method = arguments.method or DEFAULT_METHOD
    if not arguments.tools and sys.stdin.isatty():
        tools, ranges, method = interview(_ask)
    files = new_config(arguments.config, [tool.strip() for tool in tools if tool.strip()], ranges, method)
    for path in files:
        if path.exists():
            raise ConfigError(f"{path} is there already; choose another name, or move it away")
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        _say(f"wrote {path}")
    return 0


def _ask(question: str, default: str) -> str:
    print(f"{question}{f' [{default}]' if default else ''}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default


def _check(arguments: argparse.Namespace) -> int:
    words = [arguments.config, "--check", *(w for s in arguments.overrides for w in ("--set", s))]
    for option in ("run_dir", "point", "keep"):
        if value := getattr(arguments, option):
            words += [f"--{option.replace('_', '-')}", value]
    return run_main(words)


def _export(arguments: argparse.Namespace) -> int:
    from raydnnr.export import export

    done = export(arguments.run_dir, arguments.output, arguments.good, arguments.format)
    print(f"{done.n_points} points written to {done.destination}{f' ({done.note})' if done.note else ''}",
          file=sys.stderr)
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from raydnnr.predict import predict, write

    done = predict(arguments.run_dir, arguments.points)
    data = write(done.table, arguments.output)
    if arguments.output:
        _say(f"{done.table.num_rows} predictions written to {arguments.output}")
    else:
        sys.stdout.write(data.decode())
    if done.note:
        _say(done.note)
    return 0


def _import_bsmart(arguments: argparse.Namespace) -> int:
    from raydnnr.bsmart.commands import import_command

    print(import_command(arguments.source, arguments.output, _say, force=arguments.force))
    return 0


def _read_bsmart(arguments: argparse.Namespace) -> int:
    from raydnnr.bsmart.commands import read_command

    print(read_command(arguments.run_dir, arguments.source, arguments.output, _say))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _status(arguments: argparse.Namespace) -> int:
    status = read_status(arguments.run_dir)
    if arguments.json:
        print(json.dumps(status))
    else:
        _show(status)
    return 0


def read_status(run_dir: Path) -> dict[str, Any]:
    """Where a scan stands: ``status.json``, whether its driver lives, and what the table says.

    Raises:
        RunDirectoryError: Not a run directory.
    """
    from raydnnr.claim import living_driver
    from raydnnr.errors import RunDirectoryError
    from raydnnr.export import identity, read_evaluations, threshold

    held = identity(run_dir)
    try:
        status: dict[str, Any] = json.loads((run_dir / "status.json").read_text())
    except (OSError, ValueError):
        status = {"state": "starting", "name": held["name"]}
    driver = living_driver(run_dir)
    if status["state"] in ("running", "starting") and driver is None:
        status["state"] = "interrupted"
    status |= {"run_dir": str(run_dir), "driver": driver, "bytes": _sizes(run_dir)}
    try:
        status |= _counted(read_evaluations(run_dir), threshold(run_dir))
    except RunDirectoryError:
        status |= {"origins": {}, "hit_rates": [], "best": []}  # nothing is finished yet
    return status


def _sizes(run_dir: Path) -> dict[str, int]:
    """Bytes in each folder of a run; a file that its driver moves meanwhile is not counted."""
    sizes = {}
    for folder in sorted(p for p in run_dir.iterdir() if p.is_dir()):
        total = 0
        for path in folder.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
        sizes[folder.name] = total
    return sizes


def _counted(table: pa.Table, threshold_value: float) -> dict[str, Any]:
    """Counts by status and origin, hit rates of the last iterations, best points, frequent reasons."""
    from collections import Counter

    import pyarrow.compute as pc

    from raydnnr.export import good

    mine = table.filter(pc.not_equal(table["origin"], "csv"))
    hits = good(mine, threshold_value)
    per_iteration, good_per_iteration = Counter(mine["iteration"].to_pylist()), Counter(hits["iteration"].to_pylist())
    statuses = Counter(mine["status"].to_pylist())
    ok = table.filter(pc.equal(table["status"], "ok")).sort_by("nll").slice(0, LATEST)
    reasons = Counter(r.partition("\n")[0] for r in mine["reason"].to_pylist() if r)
    shown = [f.name for f in table.schema if (f.metadata or {}).get(b"role") in (b"parameter", b"observable")]
    return {
        "evaluations": mine.num_rows, "good": hits.num_rows, "valid": statuses["ok"], "invalid": statuses["invalid"],
        "failed": statuses["failed"], "seeds": table.num_rows - mine.num_rows,
        "origins": {origin: {"evaluations": n, "good": Counter(hits["origin"].to_pylist())[origin]}
                    for origin, n in Counter(mine["origin"].to_pylist()).items()},
        "hit_rates": [{"iteration": i, "evaluations": per_iteration[i], "good": good_per_iteration[i]}
                      for i in sorted(per_iteration)[-LATEST:]],
        "best": ok.select(["point_id", "nll", *shown]).to_pylist(),
        "reasons": [list(r) for r in reasons.most_common(3)],
    }


def _show(status: dict[str, Any]) -> None:
    """For people."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    age = time.time() - status["updated"] if "updated" in status else None
    console.print(f"[bold]{escape(status['name'])}[/]  {status['state']}"
                  + (f"  ({escape(status['reason'])})" if status.get("reason") else "")
                  + (f"  updated {age:.0f} s ago" if age is not None else ""))
    if status["state"] == "interrupted":
        console.print("its driver is gone; run the same command again to go on")
    if "evaluations" in status:
        rate = status["good"] / status["evaluations"] if status["evaluations"] else 0.0
        console.print(f"{status['evaluations']} evaluations: {status['good']} good ({100 * rate:.3g} %), "
                      f"{status['valid']} valid, {status['invalid']} invalid, {status['failed']} failed")
    if seen := status.get("coverage"):
        console.print(_good_region(seen))
    console.print(_table("last iterations", status["hit_rates"]))
    console.print(_table("sources", [{"origin": k, **v} for k, v in status["origins"].items()]))
    console.print(_table("best points", _turned(status["best"])))
    for reason, n in status.get("reasons", []):
        console.print(f"{n} x {reason}", markup=False)
    sizes = ", ".join(f"{name} {n / 2**20:.1f} MiB" for name, n in status["bytes"].items() if n)
    console.print(f"on disk: {sizes or 'nothing yet'}")


def _good_region(seen: dict[str, Any]) -> str:
    """What is known of the good region that was found."""
    from raydnnr.coverage import Coverage, Regions, Survey

    gain = float("nan") if seen["gain"] is None else seen["gain"]
    survey = Survey(seen["good"], Coverage(seen["share"], seen["error"]), gain,
                    Regions(seen["regions"], seen["regions_effective"]))
    return f"good region, after {survey.n_points} good points: {survey}"


def _turned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each name and a column for each point: many observables fit on a screen, five points do anyway.

    >>> _turned([{"point_id": 7, "nll": 0.5}, {"point_id": 9, "nll": 0.6}])
    [{'point_id': 'nll', '7': 0.5, '9': 0.6}]
    """
    names = list(rows[0])[1:] if rows else []
    return [{"point_id": name, **{str(row["point_id"]): row[name] for row in rows}} for name in names]


def _table(title: str, rows: list[dict[str, Any]]) -> RenderableType:
    """Rows under the names of their fields; nothing where there are none."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        return Group()
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(escape(name), justify="right")
    for row in rows:
        table.add_row(*(f"{v:.5g}" if isinstance(v, float) else escape(str(v)) for v in row.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
