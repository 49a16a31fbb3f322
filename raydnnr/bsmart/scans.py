"""Scans: BSMArt's scan, its budget and its networks -> ``[scan]`` and ``[search]``."""

from __future__ import annotations

import dataclasses
from typing import Any

from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, whole_number
from raydnnr.errors import did_you_mean
from raydnnr.search.methods import KINDS

Table = dict[str, Any]

MLSCANNER = "MLScanner."
_ALL_POINTS = {  # scans that take what comes: nothing is learned
    "Random": "", "Grid": "a grid becomes points that spread evenly (Sobol) over the same ranges, as many as it had",
    "read_csv": "points of a table are not evaluated again, they are read as seeds (init_csv); the scan goes on from "
                "them at random: raise max_evaluations, or choose another method",
    "read_dir": "spectra of a folder are not read; the scan draws points at random",
    "read_dir_mpi": "spectra of a folder are not read; the scan draws points at random",
}
_NETWORKS = ("MLS_DNNR", "MLS_DNNC", "MLS_GBR", "MLS_RFR", "MLS_RFC", "MLS_SVR_RBF", "MLS_SVR_Poly")
_LEARNING = ("AL", "DLScanner", *_NETWORKS)  # Points: good points wanted
_BUDGETS = {"MCMC": 0, "AffineMC": 0, "MultiNest": 0, "Diver": 0, "Vegas": 10_000, "DEAP": 10_000, "CMAES": 10_000,
            "CMAES_ND": 10_000, "Contour2D": 0, "ContourGP": 60, "MLS": 0}  # Points: evaluations, and its default
WITHOUT_PRIORS = ("Random", "AL", *_NETWORKS)
SCANS = (*_ALL_POINTS, *_LEARNING, *_BUDGETS)

_KEYS = {"Candidate_Points": "candidate_points", "Bootstrap_Points": "bootstrap_points",
         "Points_Per_Iteration": "points_per_iteration", "Random_Fraction": "random_fraction",
         "Batch Size": "batch_size", "Neurons": "neurons", "Epochs": "epochs", "LearningRate": "learning_rate",
         "Verbose": "verbose"}
_COUNTS = {"K": "points_per_iteration", "L": "candidate_points", "Kinitial": "bootstrap_points"}
_WHOLE = {"candidate_points", "bootstrap_points", "points_per_iteration", "batch_size", "neurons", "epochs", "verbose"}


def scan_type(setup: Section, report: Report) -> str:
    """BSMArt's scan, without the name of its folder; ``MLS_DNNR`` and ``MLScanner.MLS_DNNR`` are one."""
    word = setup.text("Type").removeprefix(MLSCANNER)
    if word in SCANS:
        return word
    what = f"{word!r} is no scan of BSMArt's" if word else "there is none"
    near = did_you_mean(word, SCANS)
    report.add(Kind.DIFFERENT if word else Kind.TO_DO, setup.where("Type"), f"{what}; {nearest('')} is used. A scan "
               f"class of your own cannot be carried over.{near}")
    return ""


def nearest(scan: str) -> str:
    """Our method for a scan of BSMArt's."""
    if scan in _ALL_POINTS:
        return "random"
    return "mls_dnnr" if scan == "MLS_DNNR" or "hybrid" not in KINDS else "hybrid"


def scan_and_search(scan: str, setup: Section, networks: Section, report: Report, n_grid: int) -> tuple[Table, Table]:
    """The stop rules for ``[scan]``, and ``[search]``."""
    method = nearest(scan)
    _say_method(scan, method, setup, report)
    stop = _stop(scan, setup, networks, report, n_grid)
    search: Table = {"method": method, **_search(scan, method, networks, setup)}
    _left_out(scan, setup, networks, report)
    return stop, search


def _say_method(scan: str, method: str, setup: Section, report: Report) -> None:
    where = setup.where("Type")
    if scan == "MLS_DNNR":
        more = '. For a new scan, try method = "hybrid"' if "hybrid" in KINDS else ""
        report.add(Kind.DIFFERENT, where, "mls_dnnr does what the text of MLS_DNNR says, not what its code does: "
                   "inputs are scaled, the lowest predictions are taken instead of the first, and invalid points are "
                   f"learned from{more}")
    elif _ALL_POINTS.get(scan):
        report.add(Kind.DIFFERENT, where, _ALL_POINTS[scan])
    elif scan in _BUDGETS:
        report.add(Kind.DIFFERENT, where, f"{scan} has no counterpart; the nearest is {method}: it looks for points of "
                   "low NLL, all over the region. They are no sample of a posterior and no best fit alone")
    elif scan in _LEARNING:
        report.add(Kind.DIFFERENT, where, f"{scan} becomes {method}: it also learns from the points so far which ones "
                   "to evaluate, with a model of its own")


def _stop(scan: str, setup: Section, networks: Section, report: Report, n_grid: int) -> Table:
    points = setup.integer("Points")
    if scan in _ALL_POINTS:
        n = n_grid if scan == "Grid" and n_grid else points or 1000
        return {"points": 0, "iterations": 0, "max_evaluations": n}
    if scan in _LEARNING or not scan:
        return _good_points(scan, points, setup, networks, report)
    if scan == "MCMC" and points is None:
        points = setup.integer("Valid Points")
    if scan == "MLS":
        points = (points or 0) * (setup.integer("Iterations", 20) or 20)
    if scan == "AffineMC":
        points = (setup.integer("Steps", 100) or 100) * (setup.integer("Walkers", 100) or 100)
    if scan == "MultiNest" and points is None:
        points = setup.integer("Live Points")
    return {"points": 0, "iterations": 0, "max_evaluations": points or _BUDGETS[scan] or 10_000}


def _good_points(scan: str, points: int | None, setup: Section, networks: Section, report: Report) -> Table:
    """Scans that end at a number of good points."""
    if points is None and scan:
        report.add(Kind.DIFFERENT, setup.where("Points"), "not given: 1000 good points, as BSMArt's text has it (its "
                   "code: 10000)")
    iterations = networks.integer("Iterations")
    if scan == "MLS_RFC":
        report.add(Kind.DIFFERENT, setup.where("Type"), "Threshold_Value and Random_Fraction are taken as they stand; "
                   "BSMArt's MLS_RFC makes whole numbers of them, 0.2 becomes 0")
    if scan == "MLS_DNNR" and iterations is not None:
        report.add(Kind.DIFFERENT, networks.where("Iterations"), "is obeyed here; BSMArt's code never reads it")
    stop: Table = {"points": 1000 if points is None else points, "iterations": iterations or 0}
    threshold = _of(networks, setup, scan, "Threshold" if scan == "DLScanner" else "Threshold_Value")
    if scan == "AL":
        stop["threshold_value"] = 1e-6  # the loss is 0 inside all intervals
        report.add(Kind.DIFFERENT, setup.where("Type"), "good is what lies inside all ranges and limits (NLL 0); an "
                   "observable of TYPE USER counts with the logarithm of its value")
    elif threshold is not None or scan == "DLScanner":
        stop["threshold_value"] = 10.0 if threshold is None else threshold
    return stop


def _search(scan: str, method: str, networks: Section, setup: Section) -> Table:
    """Settings of the method that mean the same."""
    fields = {f.name for f in dataclasses.fields(KINDS[method])}
    keys = {"AL": _COUNTS, "DLScanner": {**_COUNTS, "Random_Points": "bootstrap_points"}}.get(scan, _KEYS)
    found: Table = {}
    for old, new in keys.items() if scan in _LEARNING else ():
        if new not in fields or (value := _of(networks, setup, scan, old)) is None:
            continue
        found[new] = whole_number(value, networks.where(old)) if new in _WHOLE else value
    return found


def _of(networks: Section, setup: Section, scan: str, key: str) -> float | None:
    """A number of the network; the classical regressors of BSMArt look for it in ``Setup`` as well."""
    if key not in networks and key in setup and scan in _NETWORKS and scan not in {"MLS_DNNR", "MLS_DNNC"}:
        return setup.number(key)
    return networks.number(key)


def _left_out(scan: str, setup: Section, networks: Section, report: Report) -> None:
    for key in networks.rest():
        networks.take(key)
        report.add(Kind.LEFT_OUT, networks.where(key), f"belongs to the network of {scan or 'the scan'} in BSMArt; the "
                   "method here has its own settings, [search] lists them in the config of every run")
    for key in ("Points", "Iterations", "Epochs", "LR", "Neurons", "TrainLH", "LogLike", "Classifier",
                "DensityPenalty", "DensityPenality", "DensityPenaly", "Steps", "Walkers", "MultiNestLib", "Live Points",
                "Sampling Efficiency", "Evidence Tolerance", "DiverLib", "Convergence Threshold", "Max Civilisations",
                "Verbose", "NP", "Number of parameters", "Batch Size", "Batch_size", "Patience", "n_cores", "DEAP",
                "CMAESPopulationSize", "CMAESEpisodes", "CMAESMaxGenerations", "CMAESMean", "CMAESSigma",
                "Sigma Tolerance", "CMAES MaxLoss", "CMAESPathSeeds", "CMAESNoveltyDetection", "CMAESHBOSNBins",
                "CMAESNoveltyDetectionParams", "CMAESFocus", "CMAESHierarchy", "CMAESNoGoodPointsPatience",
                "CMAESGoodPointsEarlyStop", "CMAESBestLossPatience", "CMAESBestNValidConstraintsPatience", "Function",
                "Threshold", "N0", "Bad value", "Initial Points", "Noise", "Grid Size", "Sample Size",
                "Sample Multiplier", "Fail Value", "TestCSV", "Benchmark", "Valid Points", "Input_Dir"):
        if key in setup.rest():
            setup.take(key)
            report.add(Kind.LEFT_OUT, setup.where(key), f"belongs to {scan or 'a scan'} of BSMArt; nothing is to do")
