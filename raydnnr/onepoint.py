"""One point through the chain, told in full: for people who set up a scan, or wonder about a point of one."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Array, Outcomes, Status, score
from raydnnr.plan import Plan
from raydnnr.tools.base import ChainResult, Tool, WorkerDied
from raydnnr.tools.slot import ScratchRoot, Slot

Say = Callable[[str], None]
WORDS = ("middle", "random", "best")


def choose(plan: Plan, word: str, run_dir: Path) -> Array:
    """The point that a word means, shape (1, P).

    Args:
        plan: The scan.
        word: ``middle`` of the priors; ``random``, drawn from them; ``best``, the one with the lowest NLL that the scan
            in ``run_dir`` has found; or values by name, ``m0=500,tanb=10``, where the others are in the middle.
        run_dir: Of the scan.

    Raises:
        ConfigError: No such word or parameter, a value that is no number, or a scan that has no ``ok`` point.
    """
    middle = plan.space.from_unit_cube(np.full((1, plan.space.n_params), 0.5))
    if word == "middle":
        return middle
    if word == "random":
        return plan.space.from_unit_cube(np.random.default_rng().random((1, plan.space.n_params)))
    if word == "best":
        return _best(plan, run_dir)
    if "=" not in word:
        raise ConfigError(f"--point: got {word!r}; use {', '.join(WORDS)}, or values such as 'm0=500,tanb=10'."
                          + did_you_mean(word, WORDS))
    names = list(plan.space.scanned)
    for setting in word.split(","):
        name, _, text = (part.strip() for part in setting.partition("="))
        if name not in names:
            raise ConfigError(f"--point: {name!r} is not scanned; there are {', '.join(names)}."
                              + did_you_mean(name, names))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"--point: {name} = {text!r} is not a number")
        middle[0, names.index(name)] = value
    return middle


def show(plan: Plan, x: Array, say: Say, keep: Path | None = None) -> ChainResult:
    """Run the point ``x`` (1, P) and say what every tool did, left and took, and what came of it.

    Args:
        plan: The scan.
        x: The point.
        say: Takes one line at a time.
        keep: A folder that gets a copy of all files; it must not be there yet.

    Returns:
        What the toolchain made of it.

    Raises:
        ConfigError: ``keep`` is there already.
    """
    if keep is not None and keep.exists():
        raise ConfigError(f"--keep: {keep} is there already; name a folder that is not")
    say("one point: " + ", ".join(f"{name} = {v[0]:.10g}" for name, v in plan.inputs.columns(x).items()))
    root = ScratchRoot.create(plan.cluster.scratch)
    slot = Slot(0, root)
    seen: dict[str, float] = {}
    try:
        try:
            result = plan.toolchain.evaluate(x[0], slot, partial(_tell, slot=slot, seen=seen, say=say))
        except WorkerDied as died:
            result = ChainResult(np.full(len(plan.observables), np.nan), Status.FAILED, str(died), {})
        if keep is not None:
            shutil.copytree(slot.scratch, keep, symlinks=True)
            say(f"files: {keep}")
    finally:
        slot.close()
        root.close()
    _tell_numbers(plan, result, say)
    return result


def _best(plan: Plan, run_dir: Path) -> Array:
    import pyarrow.compute as pc

    from raydnnr.export import read_evaluations

    table = read_evaluations(run_dir)
    ok = table.filter(pc.equal(table["status"], "ok")).sort_by("nll").slice(0, 1)
    if not ok.num_rows:
        raise ConfigError(f"--point best: no point in {run_dir} is ok yet; use middle or random")
    missing = [name for name in plan.space.scanned if name not in ok.column_names]
    if missing:
        raise ConfigError(f"--point best: the table in {run_dir} has no column {missing[0]}")
    return np.array([[ok[name][0].as_py() for name in plan.space.scanned]], dtype=np.float64)


def _tell(tool: Tool, seconds: float | None, point: Mapping[str, float], slot: Slot, seen: dict[str, float],
          say: Say) -> None:
    """A tool that has just run; ``seen``: the files that were there before it, with their times of change."""
    if seconds is None:
        say(f"{tool.name}: skipped, since run_if does not hold")
        return
    say(f"{tool.name}: {tool.describe_at(point)}")
    say(f"    took {seconds:.3g} s")
    for folder, _, names in os.walk(slot.scratch):
        for name in sorted(names):
            path = Path(folder, name)
            status = path.lstat()
            where = str(path.relative_to(slot.scratch))
            if seen.get(where) != status.st_mtime:
                say(f"    left {where}, {status.st_size} bytes")
            seen[where] = status.st_mtime


def _tell_numbers(plan: Plan, result: ChainResult, say: Say) -> None:
    """Every observable with its loss, the status and the reason."""
    one = np.ones(1)
    outcomes = Outcomes(np.zeros(1, np.int64), result.values[None], np.array([result.status], np.int8), [result.reason],
                        np.ones(1, np.int8), one, "", one)
    scored = score(outcomes, plan.likelihoods)
    for k, o in enumerate(plan.observables):
        unit = f" {o.unit}" if o.unit else ""
        say(f"    {o.name} = {result.values[k]:.10g}{unit}   loss {scored.losses[0, k]:.4g}")
    seconds = sum(result.seconds.values())
    say(f"{Status(result.status).name.lower()} after {seconds:.3g} s, NLL {scored.nll[0]:.6g}")
    for line in result.reason.splitlines():
        say(f"    {line}")
