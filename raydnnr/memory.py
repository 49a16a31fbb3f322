"""Memory: the numbers of all finished rows, in arrays that grow, and their tally."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raydnnr.evaluation import Array, Status, View

FIRST_ROWS = 1024
GROWTH = 1.5
MAX_REASONS = 1000  # distinct reasons that are counted
OTHER_REASONS = "other reasons"


class Memory:
    """What a search method may ask for of the finished rows: 8 (P + K + 2) + 7 bytes each. Rows are only appended.

    Args:
        n_params: P, columns of x.
        n_observables: K.
    """

    def __init__(self, n_params: int, n_observables: int) -> None:
        self._n = 0
        self._arrays: list[NDArray[Any]] = [
            np.empty(0, np.int64), np.empty((0, n_params)), np.empty((0, n_observables)), np.empty(0),
            np.empty(0, np.int8), np.empty(0, np.int32), np.empty(0, np.int16),
        ]
        self._words: dict[str, int] = {}

    def __len__(self) -> int:
        return self._n

    @property
    def point_id(self) -> NDArray[np.int64]:
        """Of all rows."""
        return self._arrays[0][: self._n]

    def reserve(self, n_rows: int) -> None:
        """Make room for so many rows in all."""
        for k, old in enumerate(self._arrays):
            if n_rows > len(old):
                new = np.empty((n_rows, *old.shape[1:]), old.dtype)
                new[: self._n] = old[: self._n]
                self._arrays[k] = new

    def add(self, point_id: NDArray[np.int64], x: Array, observables: Array, nll: Array, status: NDArray[np.int8],
            iteration: int | NDArray[np.int32], origin: Sequence[str], which: NDArray[np.int32] | None = None) -> None:
        """Rows, of one round or of several. ``origin``: of each row; with ``which``, the words that it counts."""
        n = len(point_id)
        codes = np.array([self._words.setdefault(word, len(self._words)) for word in origin], np.int16)
        columns = (point_id, x, observables, nll, status, iteration, codes if which is None else codes[which])
        end = self._n + n
        if end > len(self._arrays[0]):
            self.reserve(max(FIRST_ROWS, int(GROWTH * end)))
        for array, new in zip(self._arrays, columns, strict=True):
            array[self._n : end] = new
        self._n = end

    def view(self, pending: Array, n_proposed: int) -> View:
        """All rows, without copying them, beside points under way. Later rows do not change it."""
        point_id, x, observables, nll, status, iteration, origin = (array[: self._n] for array in self._arrays)
        return View(point_id, x, observables, nll, status, pending, n_proposed, iteration, origin, tuple(self._words))


class Tally:
    """Counts of finished rows, the best NLL, and the reasons of those that were not ok.

    Args:
        threshold_value: A point is good when its NLL is below this.
    """

    def __init__(self, threshold_value: float) -> None:
        self.threshold_value = threshold_value
        self.ok = self.invalid = self.failed = self.good = 0
        self.best_nll = float("nan")
        self._reasons: Counter[str] = Counter()

    @property
    def evaluations(self) -> int:
        """All rows."""
        return self.ok + self.invalid + self.failed

    @property
    def reasons(self) -> tuple[tuple[str, int], ...]:
        """The three most frequent ones and how often they came."""
        return tuple(self._reasons.most_common(3))

    def add(self, nll: Array, status: NDArray[np.int8], reasons: Mapping[str, int]) -> None:
        """Count rows, and the reasons (only first lines count) of those among them that are not ok."""
        ok = nll[status == Status.OK]
        self.ok += len(ok)
        self.invalid += int((status == Status.INVALID).sum())
        self.failed += int((status == Status.FAILED).sum())
        self.good += int((ok < self.threshold_value).sum())
        if len(ok):
            self.best_nll = float(np.fmin(self.best_nll, np.fmin.reduce(ok)))
        for reason, n in reasons.items():
            first_line = reason.partition("\n")[0]
            known = first_line in self._reasons or len(self._reasons) < MAX_REASONS
            self._reasons[first_line if known else OTHER_REASONS] += n
