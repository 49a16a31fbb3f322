"""Fitting: BSMArt's fit at each point -> a tool of kind ``fit``."""

from __future__ import annotations

from typing import Any

from raydnnr.bsmart.names import Names
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section
from raydnnr.errors import ConfigError

_CLOSE = 0.1  # of VARIANCE: a target that is met does not show in the NLL
_RANGES = (0.001, 0.5)  # of ``resolution``


def fit(fitting: Section, names: Names, report: Report) -> dict[str, Any]:
    """The table of the tool; it stands before all others, as BSMArt runs the chain from its start.

    Raises:
        ConfigError: No variables, no observables, or no ranges.
    """
    solve = {}
    for name in (variables := fitting.section("Variables")):
        ends = variables.section(name).numbers("RANGE")
        if len(ends) != 2 or ends[0] == ends[1]:
            raise ConfigError(f"{variables.where(name)}: needs a RANGE [low, high]")
        solve[names.add(name)] = {"low": min(ends), "high": max(ends)}
    targets = {}
    for name in (observables := fitting.section("Observables")):
        wanted = observables.section(name)
        value, sigma = wanted.number("TARGET"), wanted.number("VARIANCE")
        if value is None or not sigma:
            raise ConfigError(f"{observables.where(name)}: needs TARGET, and VARIANCE above 0")
        targets[names.add(name)] = {"value": value, "tolerance": _CLOSE * abs(sigma)}
    if not solve or not targets:
        raise ConfigError("Fitting: needs Variables and Observables")
    table: dict[str, Any] = {"name": "fit", "kind": "fit", "solve": solve, "targets": targets, "unsolved": "nearest"}
    method = fitting.text("Method")
    if method.lower().replace("-", "") == "neldermead" and (len(solve), len(targets)) != (1, 1):
        table["algorithm"] = "nelder_mead"
    elif method not in {"", "Brentq", "Minimise"}:
        report.add(Kind.DIFFERENT, fitting.where("Method"), f"{method}: a bounded least-squares fit is used, or "
                   "Brent's method for one variable")
    report.add(Kind.DIFFERENT, "Fitting", "a fit ends when every observable is within a tenth of VARIANCE of its "
               'TARGET; where no trial is, the nearest is taken, as in BSMArt: unsolved = "invalid" makes such a point '
               "invalid")
    _options(fitting.section("Options"), table, report)
    return table


def _options(options: Section, table: dict[str, Any], report: Report) -> None:
    if eps := options.number("eps"):
        table["resolution"] = min(max(abs(eps), _RANGES[0]), _RANGES[1])
    remarks = {"ftol": "make the tolerance of the targets smaller or larger instead",
               "max_safe": "nothing is to do: a trial without an answer is known as such", "disp": "nothing is to do",
               "Overloads": "the card is the same in trials and at last; to save time, make the card lighter for "
               "both"}
    for key in options.rest():
        report.add(Kind.LEFT_OUT, options.where(key), remarks.get(key, "an option of scipy's that is not used"))
