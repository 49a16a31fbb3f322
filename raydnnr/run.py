"""Run a scan: configuration -> Ray -> scan -> where the results are. ``python -m raydnnr.run CONFIG.toml``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from raydnnr.errors import ConfigError, RaydnnrError, StorageError
from raydnnr.logs import log_file, say, show_warnings

if TYPE_CHECKING:
    import pandas as pd

    from raydnnr.coverage import Survey
    from raydnnr.evaluation import Summary, TrainingReport
    from raydnnr.plan import Plan
    from raydnnr.pool import Pool, PoolState
    from raydnnr.scan import Proposer, StopReason, Watch
    from raydnnr.store import Store

log = logging.getLogger("raydnnr")

STATES = {0: "finished", 85: "stopped"}
EXIT_DONE, EXIT_ERROR, EXIT_CONFIG, EXIT_PHYSICS, EXIT_STOPPED, EXIT_ABORTED = 0, 1, 2, 3, 85, 130

EPILOG = """\
examples:
  python -m raydnnr.run configs/quickstart.toml
  python -m raydnnr.run scan.toml --check                 find every mistake, run nothing
  python -m raydnnr.run scan.toml --check --point         ... but one point, and show what comes of it
  python -m raydnnr.run scan.toml --set scan.seed=2 --set scan.name=second --set search.epochs=500
  python -m raydnnr.run scan.toml --fresh                 start over; the old run directory is moved aside

A run directory that already holds this scan is resumed. Exit status: 0 ended by a stop rule, 2 configuration error,
3 the physics never worked, 85 stopped by a signal or a full disk with all finished work saved (run the same command
again). The last line on stdout is a summary in JSON; everything else goes to stderr and RUN_DIR/scan.log.
"""


@dataclass(frozen=True)
class Result:
    """How a scan ended, and its data.

    ``valid``: points the physics had an answer for (status ``ok``). ``best_nll`` is NaN when there is none. ``survey``
    says how much of the good region is covered (`raydnnr.coverage`); None where nobody looked.
    """

    run_dir: Path
    reason: str
    evaluations: int
    good: int
    valid: int
    failed: int
    iterations: int
    best_nll: float
    seconds: float
    exit_status: int
    threshold_value: float
    survey: Survey | None = None

    def dataframe(self) -> pd.DataFrame:
        """All evaluations, one row each, failures included."""
        from raydnnr.export import read_evaluations

        return read_evaluations(self.run_dir).to_pandas()

    def good_points(self) -> pd.DataFrame:
        """The evaluations that are ``ok`` with an NLL below the threshold."""
        table = self.dataframe()
        return table[(table.status == "ok") & (table.nll < self.threshold_value)]

    def summary_line(self) -> str:
        """The contract's JSON line."""
        keys = ("run_dir", "reason", "evaluations", "good", "valid", "failed", "iterations", "best_nll", "seconds")
        values = {key: getattr(self, key) for key in keys}
        values |= {"run_dir": str(self.run_dir), "seconds": round(self.seconds, 3),
                   "best_nll": self.best_nll if math.isfinite(self.best_nll) else None}
        return json.dumps(values)


def run(
    plan: Plan, *, run_dir: Path | str | None = None, fresh: bool = False, inline: bool = False, progress: bool = True
) -> Result:
    """Run a scan to its end, or go on with one.

    Args:
        plan: What to scan.
        run_dir: Where everything goes; ``runs/<name>`` below the current directory by default.
        fresh: Start over; a run directory that is there is moved aside.
        inline: Without Ray: the same loop and slots, in this process tree.
        progress: Whether to show progress on stderr.

    Returns:
        Why it ended and the counts; `Result.dataframe` is the data.

    Raises:
        ConfigError: The plan cannot run here, or the run directory holds another scan.
        RaydnnrError: Ray does not start, or the training fails.
    """
    from raydnnr.claim import await_silence
    from raydnnr.config import dump
    from raydnnr.progress import Progress
    from raydnnr.references import bibliography
    from raydnnr.scan import run_scan
    from raydnnr.store import Store

    folder = Path(run_dir) if run_dir is not None else Path("runs") / plan.name
    if problems := check(plan, folder, fresh):
        raise ConfigError("\n".join(problems))
    if "RAYDNNR_JOB" in os.environ:  # a batch job: the one before may have been cancelled a moment ago
        await_silence(folder)
    files = {**dump(plan), "references.bib": bibliography(plan)}
    store = Store.open(folder, plan, files, fresh=fresh)
    with ExitStack() as outer, ExitStack() as stack:  # the store is closed first: a Ray that is gone may take long
        stack.callback(store.close)
        outer.enter_context(log_file(store.run_dir / "scan.log"))
        _seed(plan, store)
        pool, trainer, dashboard = _start(plan, store, inline, outer)
        interrupted = stack.enter_context(_signals())
        watch = Progress(plan, store.run_dir, progress, dashboard)
        stack.callback(watch.close)
        log.info("scan %s starts in %s", plan.name, store.run_dir)
        try:
            reason = run_scan(plan, store, pool, trainer, watch=_measured(watch, plan, inline), interrupted=interrupted)
        except BaseException as error:
            watch.write_status("failed", f"{type(error).__name__}: {error}")
            raise
        reason = _saved(store, reason)
        watch.write_status(STATES.get(reason.exit_status, "failed"), reason.text)
        watch.say_times()
        log.info("scan ended: %s", reason.text)
        return _result(plan, store, reason)


def check(plan: Plan, run_dir: Path, fresh: bool = False) -> list[str]:
    """What is missing on this machine for a plan to run, as sentences.

    A scan that is under way in ``run_dir`` has its seeds already: their table may be gone.
    """
    problems = plan.toolchain.check()
    if plan.init_csv and (fresh or not (run_dir / "identity.json").exists()):
        from raydnnr.seeds import read_seeds

        try:
            read_seeds(plan.init_csv, plan)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _seed(plan: Plan, store: Store) -> None:
    if plan.init_csv and store.next_iteration == 0:
        from raydnnr.seeds import read_seeds

        seeds = read_seeds(plan.init_csv, plan)
        store.add_seeds(seeds.x, seeds.observables, seeds.nll, seeds.status)
        log.info("%s", seeds.report)


def _start(plan: Plan, store: Store, inline: bool, stack: ExitStack) -> tuple[Pool, Proposer, str]:
    """The pool and the trainer, with Ray or without; and the dashboard's address."""
    from raydnnr.scan import LocalTrainer
    from raydnnr.trainer import Trainer

    surrogate_dir = store.run_dir / "surrogate"
    pool: Pool
    trainer: Proposer
    if inline:
        from raydnnr.evaluator import cpus_of_this_process
        from raydnnr.pool import LocalPool

        pool = LocalPool(plan.toolchain, plan.cluster.slots or cpus_of_this_process(), plan.cluster.scratch)
        trainer, url = LocalTrainer(Trainer(plan, surrogate_dir)), ""
    else:
        from raydnnr.cluster.environment import prepare, resolve

        prepare(store.run_dir, resolve(plan.cluster.address))  # before anything imports ray
        from raydnnr.cluster.connect import connect

        say("starting Ray ...")
        cluster = stack.enter_context(connect(plan.cluster))
        pool, url = cluster.pool(plan), cluster.dashboard_url
        if plan.method.learns:
            trainer = cluster.trainer(plan, surrogate_dir)
        else:
            trainer = LocalTrainer(Trainer(plan, surrogate_dir))
    stack.callback(trainer.close)
    stack.callback(pool.close)
    return pool, trainer, url


def _measured(watch: Watch, plan: Plan, inline: bool) -> Watch:
    """A watch that also tells Ray's metrics, where there is a Ray."""
    if inline:
        return watch
    from raydnnr.cluster.metrics import Metrics

    metrics = Metrics(plan.name)

    def both(summary: Summary, state: PoolState, report: TrainingReport | None) -> None:
        watch(summary, state, report)
        metrics(summary, state, report)

    return both


def _saved(store: Store, reason: StopReason) -> StopReason:
    """Why the scan ended, once all is on disk; what is in the way of that, if anything is."""
    try:
        store.save()
    except StorageError as error:
        return replace(reason, text=str(error), exit_status=EXIT_STOPPED)
    return reason


def _result(plan: Plan, store: Store, reason: StopReason) -> Result:
    s = store.summary()
    return Result(store.run_dir, reason.text, s.evaluations, s.good, s.ok, s.failed, s.iterations, s.best_nll,
                  s.seconds, reason.exit_status, plan.stop.threshold_value, s.survey)


@contextmanager
def _signals() -> Iterator[Callable[[], str | None]]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a request to stop; a second SIGINT aborts.

    Installed after Ray is up: Ray replaces what it finds. In a batch job the end of the script that started us is such
    a request, too: Slurm ends the nodes of a job whose script was killed, but may not find its driver.
    """
    received: list[str] = []
    said: list[str] = []
    script = os.getppid() if "RAYDNNR_JOB" in os.environ else 0

    def note(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name == "SIGINT" and received:
            raise KeyboardInterrupt
        received.append(name)  # no more than that: the handler may have come into the middle of a print

    def interrupted() -> str | None:
        if script and not received and os.getppid() != script:
            received.append("end of the job's script")
        if received and not said:
            said.append(received[0])
            say(f"{received[0]}: saving; Ctrl-C now aborts at once")
        return received[0] if received else None

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    except ValueError:  # not the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the command line


def parser() -> argparse.ArgumentParser:
    """Of ``python -m raydnnr.run``."""
    p = argparse.ArgumentParser(
        prog="python -m raydnnr.run", description="Find the points of a parameter space that experiments allow.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("config", metavar="CONFIG.toml", help="what to scan")
    p.add_argument("--run-dir", metavar="DIR", help="where everything goes (default: runs/<scan.name>)")
    p.add_argument("--fresh", action="store_true", help="start over; a run directory that is there is moved aside")
    p.add_argument("--set", metavar="TABLE.KEY=VALUE", action="append", default=[], dest="overrides",
                   help="set a key over the file; may be repeated")
    p.add_argument("--check", action="store_true", help="check configuration, tools and files, and run nothing")
    p.add_argument("--point", nargs="?", const="middle", metavar="WHICH",
                   help="with --check: run one point, too, and tell all: the middle of the priors, random, best, or "
                        "values such as m0=500,tanb=10")
    p.add_argument("--keep", metavar="FOLDER", help="with --point: copy the files of that point there")
    p.add_argument("--inline", action="store_true", help="run without Ray, for debugging")
    p.add_argument("--address", metavar="HOST:PORT", help="join this Ray, from one of its nodes")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    arguments = parser().parse_args(argv)
    show_warnings()
    try:
        return _main(arguments)
    except ConfigError as error:
        print(f"ConfigError: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except RaydnnrError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("aborted; what the journal holds is safe", file=sys.stderr)
        return EXIT_ABORTED


def _main(arguments: argparse.Namespace) -> int:
    from raydnnr.config import load

    if arguments.address:
        arguments.overrides = [*arguments.overrides, f"cluster.address={arguments.address}"]
    plan = load(arguments.config, arguments.overrides)
    for warning in plan.warnings():
        say(f"warning: {warning}")
    if arguments.check:
        return _check_only(arguments, plan)
    start = time.monotonic()
    result = run(plan, run_dir=arguments.run_dir, fresh=arguments.fresh, inline=arguments.inline)
    _say_where(result, time.monotonic() - start, arguments)
    print(result.summary_line(), flush=True)
    return result.exit_status


def _check_only(arguments: argparse.Namespace, plan: Plan) -> int:
    from raydnnr.store import check_identity

    folder = Path(arguments.run_dir) if arguments.run_dir else Path("runs") / plan.name
    problems = check(plan, folder, arguments.fresh)
    if not (arguments.fresh and (folder / "identity.json").exists()):  # that one would be moved aside
        try:
            check_identity(folder, plan)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    failed = bool(arguments.point) and _one_point_fails(plan, folder, arguments)
    verdict = "the file is well, but the point failed" if failed else "all is well"
    print(f"{arguments.config}: {verdict}: {plan.space.n_params} parameters to scan, {len(plan.tools)} tools, "
          f"{len(plan.observables)} observables, method {type(plan.method).__name__}; would run in {folder}",
          file=sys.stderr)
    return EXIT_PHYSICS if failed else EXIT_DONE


def _one_point_fails(plan: Plan, folder: Path, arguments: argparse.Namespace) -> bool:
    """Run one point and tell all of it; whether a code broke (an invalid point is an answer)."""
    from raydnnr.evaluation import Status
    from raydnnr.onepoint import choose, show

    keep = Path(arguments.keep) if arguments.keep else None
    return show(plan, choose(plan, arguments.point, folder), say, keep).status == Status.FAILED


def _say_where(result: Result, seconds: float, arguments: argparse.Namespace) -> None:
    """The end of a run, for people: why, how much, where, and what to do next."""
    try:
        folder = os.path.relpath(result.run_dir)
    except ValueError:
        folder = str(result.run_dir)
    lines = [
        "", f"ended by {result.reason}",
        f"{result.evaluations} evaluations in {seconds:.0f} s: {result.good} good, {result.valid} valid, "
        f"{result.failed} failed; best NLL {result.best_nll:.4g}",
        *_good_region(result),
        f"results: {folder}/evaluations    read them with",
        f'    import pandas; df = pandas.read_parquet("{folder}/evaluations")',
    ]
    if result.exit_status == EXIT_STOPPED:
        lines += ["to go on, run the same command again:", f"    {_again(arguments)}"]
    if result.exit_status == EXIT_PHYSICS:
        lines += ["see the column 'reason' there, and run one point by hand before the next try"]
    say("\n".join(lines))


def _good_region(result: Result) -> list[str]:
    """What is known of the good region that was found."""
    text = str(result.survey or "")
    return [f"good region, as far as it was found: {text}"] if text else []


def _again(arguments: argparse.Namespace) -> str:
    words: list[Any] = ["python", "-m", "raydnnr.run", arguments.config]
    words += ["--run-dir", arguments.run_dir] if arguments.run_dir else []
    words += [w for setting in arguments.overrides for w in ("--set", setting)]
    words += ["--inline"] if arguments.inline else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
