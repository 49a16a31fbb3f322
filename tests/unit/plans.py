"""Plans that tests share: a disc in a square, by a Python function that is never called here."""

from __future__ import annotations

from raydnnr import Gauss, Observable, Parameter, Plan, PythonFunction, RandomSampling, Stop


def disc(point):
    """Distance from the centre, and the sum of the coordinates."""
    return {"r": ((point["x"] - 0.5) ** 2 + (point["y"] - 0.5) ** 2) ** 0.5, "s": point["x"] + point["y"]}


def square(**changes):
    """A plan with two scanned parameters, one fixed, one derived value and two observables."""
    settings = {
        "name": "square",
        "parameters": [Parameter.of("x", low=0, high=1), Parameter.of("y", low=0, high=1), Parameter.of("k", value=2)],
        "tools": [PythonFunction(name="model", function=disc)],
        "observables": [Observable(name="r", likelihood=Gauss(mean=0.2, sigma=0.1)),
                        Observable(name="s", likelihood=Gauss(mean=1.0, sigma=0.1), valid=(0.0, 2.0))],
        "derived": {"x2": "k * x**2"},
        "method": RandomSampling(),
        "stop": Stop(points=10, max_evaluations=100),
    }
    return Plan(**settings | changes)


def two_tools(**changes):
    """`square` with a second tool."""
    tools = [PythonFunction(name="model", function=disc), PythonFunction(name="more.1", function=disc)]
    observables = [Observable(name="r", source=tools[0].address({}, "r"), likelihood=Gauss(mean=0.2, sigma=0.1)),
                   Observable(name="s", source=tools[1].address({}, "s"), likelihood=Gauss(mean=1.0, sigma=0.1),
                              valid=(0.0, 2.0))]
    return square(**{"tools": tools, "observables": observables} | changes)
