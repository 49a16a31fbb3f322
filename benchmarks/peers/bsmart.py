"""bsmart's own scans, by its own program: PyPI ``bsmart`` 2.0.2, in an environment of its own.

The program is only called: a run is a folder with a JSON file and a tool (``bsmart_tool.py``) that computes the
observables and writes down every point it is asked for. It scans the unit cube, from which the tool makes physical
values, so the priors are right in scans that ignore them. It has no seed and, in MLS_DNNR, no limit on evaluations:
its process is ended when the evaluations are spent or the time is over.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from problems.problem import Problem
from score import Log

from raydnnr.likelihoods import KINDS, Likelihood, smooth_cap_loss

VERSION = "2.0.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
ENVIRONMENT = CACHE / "raydnnr-benchmarks" / f"bsmart-{VERSION}"
NEEDED = (f"bsmart=={VERSION}", "wget", "six", "seaborn", "corner")  # torch and the like are those of this Python
FOLDERS = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]  # for the tool: raydnnr, and the problems
TIME_LIMIT_S = 1200.0
POLL_S = 0.2

MLS_DNNR = {  # its documented defaults; where nothing is said its code takes others
    "Candidate_Points": 500, "Bootstrap_Points": 100, "Points_Per_Iteration": 300, "Random_Fraction": 0.2,
    "Batch Size": 500, "Neurons": 100, "Epochs": 250, "LearningRate": 1e-2, "Verbose": 0,
}


def mls_dnnr(problem: Problem, seed: int, max_evaluations: int) -> Log:
    """Its ``MLScanner.MLS_DNNR`` with the documented defaults, on its NLL."""
    networks = MLS_DNNR | {"Threshold_Value": float(smooth_cap_loss(-problem.threshold_value))}
    setup = {"Type": "MLScanner.MLS_DNNR", "Points": 10**9, "Store In Memory": "True"}
    return _run(problem, seed, max_evaluations, {"Setup": setup, "Networks": networks})


def cmaes(problem: Problem, seed: int, max_evaluations: int) -> Log:
    """Its ``CMAES`` with its defaults, in as many episodes (fresh starts) as the evaluations allow."""
    return _run(problem, seed, max_evaluations, {"Setup": {"Type": "CMAES", "CMAESEpisodes": 10**6}})


def environment() -> Path:
    """The program, installed on first use.

    Raises:
        RuntimeError: It cannot be installed.
    """
    program = ENVIRONMENT / "bin" / "BSMArt"
    if program.exists():
        return program
    made = ENVIRONMENT.with_name(f"{ENVIRONMENT.name}.{os.getpid()}")
    venv.create(made, with_pip=True)
    ask = [str(made / "bin" / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    shared = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    (site / "shared.pth").write_text("".join(f"{path}\n" for path in shared))
    done = subprocess.run([made / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", *NEEDED],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bsmart {VERSION} could not be installed: {done.stderr.strip()[-500:]}")
    _move(made)
    return program


def _move(made: Path) -> None:
    """Into its place, where scripts find it: the first line of each names its Python."""
    for script in (made / "bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            script.write_bytes(text.replace(str(made).encode(), str(ENVIRONMENT).encode()))
    try:
        made.rename(ENVIRONMENT)
    except OSError:  # another process was faster
        shutil.rmtree(made)


def _run(problem: Problem, seed: int, max_evaluations: int, settings: Mapping[str, Mapping[str, Any]]) -> Log:
    """One run of the program, to the end of the evaluations or of the time."""
    program = environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "points.bin"
        log.touch()
        (folder / "Tools").mkdir()
        shutil.copy(Path(__file__).with_name("bsmart_tool.py"), folder / "Tools" / "raydnnr_problem.py")
        (folder / "scan.json").write_text(json.dumps(_scan(problem, seed, log, settings)))
        with (folder / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [program, "scan.json"], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(FOLDERS), "MPLBACKEND": "agg"})
            _await(process, log, max_evaluations * 8 * problem.space.n_params)
        data, row = log.read_bytes(), 8 * problem.space.n_params
        n_points = min(len(data) // row, max_evaluations)  # the last one may have been cut short
        u = np.frombuffer(data[: n_points * row]).reshape(n_points, problem.space.n_params)
        if not len(u):
            said = (folder / "output.txt").read_text(errors="replace")
            raise RuntimeError(f"bsmart evaluated nothing: {said[-800:]}")
        return Log(u.copy(), problem.nll(u))


def _await(process: subprocess.Popen[bytes], log: Path, n_bytes: int) -> None:
    """Until it ends, has written enough, or takes too long; then its whole session is ended."""
    end = time.monotonic() + TIME_LIMIT_S
    while process.poll() is None and log.stat().st_size < n_bytes and time.monotonic() < end:
        time.sleep(POLL_S)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _scan(problem: Problem, seed: int, log: Path, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON file."""
    setup = {"RunName": "scan", "Cores": 1, "csv": "False", "StoreAllPoints": "False", "StoreSeparateFiles": "False",
             "StoreEverything": "False", "Skip SLHA Files": "True", "Merge Results": "False"}
    tool = {"Run": "True", "problem": problem.name, "log": str(log), "seed": seed}
    return {
        **settings, "Setup": setup | dict(settings["Setup"]),
        "Codes": {"raydnnr_problem": tool},
        "Variables": {name: {"RANGE": [0.0, 1.0]} for name in problem.space.scanned},
        "Observables": {name: _observable(kind) for name, kind in problem.likelihoods.items()},
    }


def _observable(likelihood: Likelihood) -> dict[str, Any]:
    """A likelihood in its words."""
    words = {kind: word.upper() for word, kind in KINDS.items()}
    names = {"mean": "MEAN", "sigma": "VARIANCE", "lower_bound": "LOWER_BOUND", "upper_bound": "UPPER_BOUND"}
    values = {names[key]: value for key, value in vars(likelihood).items() if key in names and value is not None}
    return {"SCALING": words[type(likelihood)], **values}
