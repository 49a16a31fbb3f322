"""BSMArt's toy targets, functions that are hard to minimise, as expressions of the variables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from raydnnr.bsmart.section import Section
from raydnnr.errors import ConfigError

NAMES = ("Rosenbrock", "Rastrigin", "Ackley", "Himmelblau", "Easom")  # in the order of the block TOYTARGETS


def nothing(point: Mapping[str, object]) -> dict[str, float]:
    """The tool of a chain without tools: all its observables are expressions."""
    return {}


def formulas(variables: Sequence[str], settings: Section) -> dict[str, str]:
    """An expression for each target; the last two need two variables.

    Example:
        >>> formulas(["x", "y"], Section("Codes.toy_targets", {}))["Rosenbrock"]
        '100.0 * (y - x**2)**2 + (1.0 - x)**2'
    """
    if not variables:
        raise ConfigError(f"{settings.path}: no Variables, and so no target")
    x, n = variables, len(variables)
    a, b = _number(settings, "Rosenbrock a", 1.0), _number(settings, "Rosenbrock b", 100.0)
    height = _number(settings, "Rastrigin A", 10.0)
    found = {
        "Rosenbrock": " + ".join(f"{b} * ({x[i + 1]} - {x[i]}**2)**2 + ({a} - {x[i]})**2" for i in range(n - 1))
        or f"({a} - {x[0]})**2",
        "Rastrigin": f"{height} * {n} + " + " + ".join(f"({v}**2 - {height} * cos(2 * pi * {v}))" for v in x),
        "Ackley": _ackley(x, settings),
    }
    h_a, h_b = _number(settings, "Himmelblau a", 11.0), _number(settings, "Himmelblau b", 7.0)
    center = settings.numbers("Easom center") or [math.pi, math.pi]
    if n > 1 and len(center) == 2:
        u, v = x[:2]
        found["Himmelblau"] = f"({u}**2 + {v} - {h_a})**2 + ({u} + {v}**2 - {h_b})**2"
        found["Easom"] = f"-cos({u}) * cos({v}) * exp(-(({u} - {center[0]!r})**2 + ({v} - {center[1]!r})**2))"
    return found


def _ackley(x: Sequence[str], settings: Section) -> str:
    a, b = _number(settings, "Ackley a", 20.0), _number(settings, "Ackley b", 0.2)
    c = _number(settings, "Ackley c", 2 * math.pi)
    squares = " + ".join(f"{v}**2" for v in x)
    waves = " + ".join(f"cos({c} * {v})" for v in x)
    return f"-{a} * exp(-{b} * sqrt(({squares}) / {len(x)})) - exp(({waves}) / {len(x)}) + {a} + e"


def _number(settings: Section, key: str, default: float) -> str:
    """As a text that is the same number; in brackets where it has a sign."""
    value = settings.number(key, default)
    assert value is not None
    return repr(value) if value >= 0 else f"({value!r})"
