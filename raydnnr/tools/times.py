"""ToolTimes: how long each tool of a chain took, and what was saved where it did not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ToolTimes:
    """Of ``points`` points: ``runs`` and ``seconds`` of each tool, by its name."""

    points: int = 0
    runs: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: ToolTimes) -> ToolTimes:
        """Both together.

        >>> one = ToolTimes(1, {"a": 1}, {"a": 2.0})
        >>> (one + ToolTimes(1, {"a": 1, "b": 1}, {"a": 4.0, "b": 1.0})).mean_seconds
        {'a': 3.0, 'b': 1.0}
        """
        names = dict.fromkeys([*self.runs, *other.runs])
        return ToolTimes(self.points + other.points,
                         {name: self.runs.get(name, 0) + other.runs.get(name, 0) for name in names},
                         {name: self.seconds.get(name, 0.0) + other.seconds.get(name, 0.0) for name in names})

    @classmethod
    def of(cls, tools: Sequence[str], seconds: NDArray[np.float64]) -> ToolTimes:
        """Some points.

        Args:
            tools: Names of the T tools.
            seconds: What each took of each point (n, T), NaN where it did not run.

        Example:
            >>> print(ToolTimes.of(["a", "b"], np.array([[2.0, np.nan], [4.0, 1.0]])))
            a 3 s x 2, b 1 s x 1; points that stopped early or skipped a tool saved 1 s
        """
        runs = (~np.isnan(seconds)).sum(axis=0).tolist()
        totals = np.nansum(seconds, axis=0).tolist()
        ran = [k for k, n in enumerate(runs) if n]
        return cls(len(seconds), {tools[k]: runs[k] for k in ran}, {tools[k]: totals[k] for k in ran})

    @property
    def mean_seconds(self) -> dict[str, float]:
        """Of one run of each tool."""
        return {name: self.seconds[name] / n for name, n in self.runs.items() if n}

    @property
    def saved_seconds(self) -> float:
        """What the runs would have taken that points did without: stopped before by a condition, or by ``run_if``.

        >>> ToolTimes(10, {"cheap": 10, "dear": 2}, {"cheap": 1.0, "dear": 4.0}).saved_seconds
        16.0
        """
        return sum((self.points - self.runs[name]) * mean for name, mean in self.mean_seconds.items())

    def __str__(self) -> str:
        """In words.

        >>> print(ToolTimes(10, {"cheap": 10, "dear": 2}, {"cheap": 1.0, "dear": 4.0}))
        cheap 0.1 s x 10, dear 2 s x 2; points that stopped early or skipped a tool saved 16 s
        """
        each = ", ".join(f"{name} {mean:.3g} s x {self.runs[name]}" for name, mean in self.mean_seconds.items())
        saved = self.saved_seconds
        return each + (f"; points that stopped early or skipped a tool saved {saved:.3g} s" if saved > 0 else "")


NO_TIMES = ToolTimes()
