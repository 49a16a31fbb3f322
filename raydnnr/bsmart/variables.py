"""Variables: BSMArt's scanned parameters -> ``[parameters]``."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

from raydnnr.bsmart.names import Names
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, number
from raydnnr.errors import ConfigError

Table = dict[str, Any]

_GRIDS = {"linspace": "uniform", "geomspace": "log", "logspace": "log", "arange": "uniform", "uniform": "uniform"}
_PLAIN = {"UNIFORM": "uniform", "INTERVAL": "uniform", "OPEN": "uniform", "NONE": "uniform", "LOG": "log",
          "SYMLOG": "symlog", "SYMLINEAR": "symlinear", "SIN": "sin"}
_REMARKS = {
    "OPEN": "points outside the RANGE are not proposed here; widen low and high if they are wanted",
    "INTERVAL": "a point outside the RANGE was an error in BSMArt; here none is proposed",
    "SIN": "RANGE and value are degrees here; BSMArt 2.0.2 takes degrees and returns radians",
}
_MISSING = {"low": math.nan, "high": math.nan}


def parameters(variables: object, names: Names, report: Report, ranges: Mapping[str, tuple[float, float]]) -> Table:
    """The table ``[parameters]``.

    Args:
        variables: JSON's ``Variables``: an object, or a list of names.
        names: All variables have one.
        report: Gets what is not the same.
        ranges: By old name, of a table of points: where the file gives no range.
    """
    if isinstance(variables, list):
        variables = {str(name): {} for name in variables}
    listed = Section("Variables", variables)
    return {names[name]: _parameter(listed, name, report, ranges) for name in listed}


def grid_size(variables: object) -> int:
    """How many points a grid has; 0 if it is none."""
    items = variables.items() if isinstance(variables, dict) else []
    counts = [_grid(value, f"Variables.{name}")[1] for name, value in items if isinstance(value, str)]
    return math.prod(counts) if counts else 0


def _parameter(listed: Section, name: str, report: Report, ranges: Mapping[str, tuple[float, float]]) -> Table:
    value = listed.take(name)
    where = listed.where(name)
    if isinstance(value, str):
        return _grid(value, where)[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"value": float(value)}
    settings = Section(where, value)
    table = _prior(settings, report, ranges.get(name))
    if label := settings.text("Label"):
        table["latex"] = label.replace("$", "")
    if "VARIANCE" in settings:
        settings.take("VARIANCE")
        report.add(Kind.LEFT_OUT, settings.where("VARIANCE"), "the jump size of BSMArt's MCMC and AL; nothing is to "
                   "do, points are not proposed by jumps")
    for key in settings.rest():
        report.add(Kind.UNREAD, settings.where(key), "BSMArt knows no such key of a variable")
    return table


def _prior(settings: Section, report: Report, seen: tuple[float, float] | None) -> Table:
    """Prior and range."""
    given = settings.take("PRIOR", "UNIFORM" if "RANGE" in settings else "NONE")
    numbers = Section(settings.where("PRIOR"), given if isinstance(given, dict) else {})
    word = (numbers.text("TYPE", "UNIFORM") if isinstance(given, dict) else str(given)).strip().upper()
    mean, sigma = (numbers.number(k) if k in numbers else settings.number(k) for k in ("MEAN", "SIGMA"))
    ends = settings.numbers("RANGE")
    if ends and len(ends) != 2:
        raise ConfigError(f"{settings.where('RANGE')}: got {ends}, wants [low, high]")
    low, high = (min(ends), max(ends)) if ends else (seen or (math.nan, math.nan))
    if word == "FIXED" or (ends and low == high):
        return {"value": mean if mean is not None and word == "FIXED" else (low + high) / 2}
    if word in _REMARKS:
        report.add(Kind.DIFFERENT, settings.where("PRIOR"), _REMARKS[word])
    if shaped := _shaped(word, mean, sigma, low, high):
        return {**shaped, **({"low": low, "high": high} if ends else {})}
    if math.isnan(low):
        report.add(Kind.TO_DO, settings.path, "has no RANGE (BSMArt's MLS scans drop such a variable): write low and "
                   "high, or value = ..., in place of nan")
        return dict(_MISSING)
    if word not in _PLAIN:
        report.add(Kind.TO_DO, settings.where("PRIOR"), f"{word} cannot be carried over: BSMArt needs a dictionary "
                   "with MEAN and SIGMA, and breaks on it; the range is drawn from evenly now")
    prior = _PLAIN.get(word, "uniform")
    if prior in {"log", "symlog"} and low <= 0:
        report.add(Kind.TO_DO, settings.where("PRIOR"), "a log prior needs low > 0: scan the absolute value and put "
                   "the sign into the template; the range is drawn from evenly now")
        prior = "uniform"
    if prior == "symlinear" and abs(low) == abs(high):
        report.add(Kind.TO_DO, settings.where("PRIOR"), f"SYMLINEAR between {low:g} and {high:g} leaves two points, as "
                   "its range is that of the absolute value; the range is drawn from evenly now")
        prior = "uniform"
    if prior == "symlinear":
        low, high = sorted((abs(low), abs(high)))
    return {"low": low, "high": high, **({} if prior == "uniform" else {"prior": prior})}


def _shaped(word: str, mean: float | None, sigma: float | None, low: float, high: float) -> Table:
    """Priors with numbers of their own; empty where this is none, or they are missing."""
    if word == "EXP" and sigma is not None and sigma < 0 <= low:  # density exp(SIGMA x)
        return {"prior": "exponential", "sigma": -1 / sigma}
    if mean is None or sigma is None or sigma <= 0:
        return {}
    if word == "LOGNORMAL" and mean > 0:  # MEAN is the mode: ln x is normal around ln MEAN + SIGMA^2
        return {"prior": "lognormal", "mean": math.log(mean) + sigma**2, "sigma": sigma}
    kinds = {"GAUSS": "normal", "CAUCHY": "cauchy"}
    return {"prior": kinds[word], "mean": mean, "sigma": sigma} if word in kinds else {}


def _grid(text: str, where: str) -> tuple[Table, int]:
    """``np.linspace(a, b, num=n)`` and its like, or a list: the range, and the number of points."""
    values, word, n = _call(text, where)
    if word == "logspace":
        values = [10.0**v for v in values]
    low, high = min(values), max(values)
    if low == high or n == 1:
        return {"value": values[0]}, 1
    log = _GRIDS.get(word) == "log" and low > 0
    return {"low": low, "high": high, **({"prior": "log"} if log else {})}, n


def _call(text: str, where: str) -> tuple[list[float], str, int]:
    """The numbers, the function and the count of a grid expression."""
    try:
        return _parsed(text, where)
    except (SyntaxError, ArithmeticError, TypeError, ValueError, RecursionError, MemoryError, ConfigError):
        raise ConfigError(f"{where}: got {text!r:.60}, wants np.linspace(...), np.geomspace(...) or a list of "
                          "numbers") from None


def _parsed(text: str, where: str) -> tuple[list[float], str, int]:
    wrong = ValueError("no grid")
    node = ast.parse(text.strip(), mode="eval").body
    if isinstance(node, ast.List | ast.Tuple) and node.elts:
        listed = [number(ast.literal_eval(v), where) for v in node.elts]
        return listed, "linspace", len(listed)
    if not isinstance(node, ast.Call):
        raise wrong
    word = ast.unparse(node.func).rpartition(".")[2]
    numbers = [number(ast.literal_eval(v), where) for v in node.args]
    named = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
    numbers += [number(named[k], where) for k in ("start", "stop", "step")[len(numbers) :] if k in named]
    if word not in _GRIDS or len(numbers) < 2:
        raise wrong
    if word == "arange":
        step = numbers[2] if len(numbers) > 2 else 1.0
        n = max(1, math.ceil((numbers[1] - numbers[0]) / step))
        return [numbers[0], numbers[0] + (n - 1) * step], word, n
    count = named.get("num", numbers[2] if len(numbers) > 2 else 50)
    return numbers[:2], word, 0 if word == "uniform" else int(number(count, where))
