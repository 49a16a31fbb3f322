"""Pictures: good points and coverage against evaluations, as the benchmarks of searches draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from score import Curves


def draw(path: Path, curves: Mapping[str, Sequence[Curves]], title: str, *, logarithmic: bool) -> None:
    """One picture; nothing but a word where matplotlib is missing.

    Args:
        path: Of the PNG file.
        curves: Of the runs of each method, by its name: the median and the range over them are drawn, up to where the
            first of them ended. A method without runs keeps its colour.
        title: Above it.
        logarithmic: Whether the axes of evaluations and of good points are.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plots: pip install -e '.[benchmarks]'")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(10, 4), dpi=80, layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("good", "coverage"), strict=True):
        for k, (name, runs) in enumerate(curves.items()):
            if not runs:
                continue
            last = min(len(run.good) for run in runs)
            x = np.unique(np.geomspace(min(50 if logarithmic else 1, last), last, 200).astype(int))
            y = np.array([getattr(run, what)[x - 1] for run in runs])
            axes.plot(x, np.median(y, axis=0), color=f"C{k}", label=f"{name} ({len(runs)} seeds)", lw=1.3)
            axes.fill_between(x, y.min(axis=0), y.max(axis=0), color=f"C{k}", alpha=0.2, lw=0)
        axes.set(xscale="log" if logarithmic else "linear", xlabel="evaluations",
                 ylabel="good points" if what == "good" else what)
        axes.grid(alpha=0.3)
    figure.axes[0].set(yscale="symlog" if logarithmic else "linear", ylim=(0, None), title=title)
    figure.axes[1].set(ylim=(0, 1))
    figure.axes[1].legend(fontsize=7)
    figure.savefig(path)
