"""Observables: what BSMArt reads and scores -> ``[observables]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raydnnr.bsmart.names import Names
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, whole_number
from raydnnr.errors import ConfigError, ExpressionError

Table = dict[str, Any]
Address = Callable[[str, list[int] | list[Any], str], Table | None]

OPEN = {"kind": "cfunction", "lower_bound": float("-inf"), "upper_bound": float("inf")}  # every number is allowed
_USERS = {"USER": "user", "SIGUSER": "siguser", "EXPUSER": "expuser", "MINUSEXPUSER": "minusexpuser",
          "LOGUSER": "loguser"}
_KNOWN = ("SLHA", "FUNCTION", "SCALING", "MEAN", "VARIANCE", "RANGE", "LOWER_BOUND", "UPPER_BOUND", "LOG_SCALING",
          "VALID", "TYPE", "MAX", "MIN", "Label", "LABEL")


def observable(settings: Section, tool: str, address: Address, names: Names, report: Report, *,
               classified: bool) -> Table | None:
    """The table of one observable; None if it cannot be read here.

    Args:
        settings: Its JSON object.
        tool: The code it stands in; empty for the global table.
        address: Block, ids and tool to a ``from`` table (`raydnnr.bsmart.codes`); None: nothing here can read it.
        names: For expressions.
        report: Gets what is not the same.
        classified: As the scan AL does, whose words are TYPE, MAX and MIN.
    """
    table = _origin(settings, tool, address, names, report)
    if table is None:
        return None
    try:
        table["likelihood"] = _classifier(settings) if classified else likelihood(settings, report)
    except ConfigError as error:
        report.add(Kind.TO_DO, settings.path, f"{error}; it is recorded and not scored now: write the likelihood that "
                   "was meant")
        table["likelihood"] = {"kind": "off"}
    if "VALID" in settings:
        ends = settings.numbers("VALID")
        if tool and ends:
            table["valid"] = [min(ends), max(ends)]
        elif ends:
            report.add(Kind.DIFFERENT, settings.where("VALID"), "BSMArt reads VALID only inside a code, so there is no "
                       f"cut here either; valid = {ends} would make one")
    if not classified and not {"TYPE", "MAX", "MIN"}.isdisjoint(settings):
        report.add(Kind.DIFFERENT, settings.where("TYPE"), "TYPE, MAX and MIN are words of BSMArt's scan AL only; "
                   "without SCALING the observable is not scored, there and here")
    for key in settings.rest():
        if key not in _KNOWN:
            hint = "; meant was LOG_SCALING" if key.upper().replace(" ", "_") == "LOG_SCALING" else ""
            report.add(Kind.UNREAD, settings.where(key), f"BSMArt knows no such key of an observable{hint}")
    return table


def likelihood(settings: Section, report: Report) -> Table:
    """The ``likelihood`` table that has the same log-likelihood as BSMArt's.

    Raises:
        ConfigError: BSMArt's own formula breaks on these numbers.
    """
    mean, sigma = _mean_and_sigma(settings)
    word = settings.text("SCALING", "GAUSS" if {"MEAN", "VARIANCE"} <= set(settings) else "OFF")
    if word == "OFF":
        return {"kind": "off"}
    if word in _USERS:
        return {"kind": _USERS[word]}
    if word == "CFUNCTION":
        return _interval(settings, mean, sigma, report)
    if word == "LOG":
        report.add(Kind.DIFFERENT, settings.where("SCALING"), "LOG is a Gaussian wherever BSMArt works with "
                   "log-likelihoods, and so it is here; likelihood = { kind = 'log', ... } is the one it documents")
    elif word not in {"GAUSS", "UPPER", "LOWER", "BIAS"}:
        report.add(Kind.DIFFERENT, settings.where("SCALING"), f"{word!r} is a Gaussian in BSMArt, as every word it "
                   "does not know; it is one here")
        word = "GAUSS"
    kind = {"LOG": "gauss"}.get(word, word.lower())
    if kind == "gauss":
        sigma = abs(sigma)
    elif sigma < 0 and kind in {"upper", "lower"}:
        kind, sigma = {"upper": "lower", "lower": "upper"}[kind], -sigma
    if not sigma > 0 or (kind == "bias" and mean == 0):
        raise ConfigError(f"{word} with MEAN {mean:g} and VARIANCE {sigma:g} is no likelihood")
    return {"kind": kind, "mean": mean, "sigma": sigma}


def _mean_and_sigma(settings: Section) -> tuple[float, float]:
    """MEAN and VARIANCE, which BSMArt uses as a standard deviation; without a MEAN from the RANGE."""
    mean, sigma = settings.number("MEAN"), settings.number("VARIANCE")
    ends = settings.numbers("RANGE")
    if mean is None and len(ends) == 2:
        return 0.5 * ends[0] + 0.5 * ends[1], abs(0.5 * ends[1] - 0.5 * ends[0])
    return (0.0, 0.0) if mean is None else (mean, sigma or 0.0)


def _interval(settings: Section, mean: float, sigma: float, report: Report) -> Table:
    bounds = {key.lower(): settings.number(key) for key in ("LOWER_BOUND", "UPPER_BOUND")}
    table: Table = {k: v for k, v in bounds.items() if v is not None}
    log = str(settings.take("LOG_SCALING", False)).strip().lower() == "true"
    if not table:
        table = {"mean": mean, "sigma": sigma} if sigma > 0 else {"lower_bound": mean - sigma,
                                                                  "upper_bound": mean + sigma}
    if log and len(table) == 1:
        report.add(Kind.DIFFERENT, settings.where("LOG_SCALING"), "with one bound BSMArt scores every point with the "
                   "maximum loss; here the other side is open, as was meant")
    return {"kind": "cfunction", **table, **({"log_scaling": True} if log else {})}


def _classifier(settings: Section) -> Table:
    """What AL calls good, as an interval: the loss is 0 inside."""
    mean, sigma = settings.number("MEAN") or 0.0, settings.number("VARIANCE") or 0.0
    word, ends = settings.text("TYPE", "OFF"), settings.numbers("RANGE")
    highest, lowest = settings.number("MAX"), settings.number("MIN")
    if highest is not None:
        word, mean = "UPPER", highest
    elif lowest is not None:
        word, mean = "LOWER", lowest
    elif len(ends) == 2:
        return {"kind": "cfunction", "lower_bound": min(ends), "upper_bound": max(ends)}
    if word == "RANGE":
        return {"kind": "cfunction", "lower_bound": mean - sigma, "upper_bound": mean + sigma}
    if word in {"UPPER", "LOWER"}:
        return {"kind": "cfunction", f"{word.lower()}_bound": mean}
    return {"kind": "user" if word == "USER" else "off"}


def _origin(settings: Section, tool: str, address: Address, names: Names, report: Report) -> Table | None:
    """``from`` or ``expression``."""
    if "SLHA" in settings:
        block, keys = _entry(settings)
        table = address(block, keys, tool)
        if table is None:
            report.add(Kind.TO_DO, settings.where("SLHA"), f"{block} {keys} cannot be read by a tool here; the "
                       "observable is left out: give it by a Python tool")
        return None if table is None else dict(table)
    if "FUNCTION" in settings:
        text = settings.text("FUNCTION")
        try:
            return {"expression": names.expression(text)}
        except ExpressionError as error:
            report.add(Kind.TO_DO, settings.where("FUNCTION"), f"{error}; the observable is left out: give it by a "
                       "Python tool")
            return None
    table = address("", [], tool)
    if table is None:
        report.add(Kind.TO_DO, settings.path, "says neither SLHA nor FUNCTION, and no code here sets it by itself; "
                   "it is left out")
    return table


def _entry(settings: Section) -> tuple[str, list[Any]]:
    """Block and ids; ``[25]``, ``["3,3"]`` and ``25`` are all known."""
    value = settings.take("SLHA")
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{settings.where('SLHA')}: got {value!r:.60}, wants [block, [ids]]")
    ids = value[1] if len(value) > 1 else []
    flat: list[Any] = []
    for item in ids if isinstance(ids, list) else [ids]:
        if isinstance(item, list):
            flat.append([whole_number(v, settings.where("SLHA")) for v in item])
        elif isinstance(item, str) and "," in item:
            flat += [whole_number(v, settings.where("SLHA")) for v in item.split(",")]
        else:
            flat.append(_whole(item, settings.where("SLHA")))
    return str(value[0]).strip().upper(), flat


def _whole(item: object, where: str) -> Any:
    try:
        return whole_number(item, where)
    except ConfigError:
        return str(item)
