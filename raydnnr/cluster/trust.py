"""Trust: are the failures on a node the points' fault, or the node's own (a bad mount, a missing library)?

Points fail, and nothing is wrong with the node. But where one point after the other fails, the failures are held back
and the points given to other nodes. Where those fail too, the node is believed, and its next failures count at once;
where the others succeed, it was the node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from raydnnr.evaluation import Outcomes, Status

APPEAL_AFTER = 5  # failures in a row on one node, before other nodes are asked
WRONG = 3  # failures of a node that others took back, before it is bad
BELIEVED = 200  # failures that count at once after one was confirmed


@dataclass
class _Record:
    """What is known of one node: failures in a row, failures it is believed, failures that others took back."""

    in_a_row: int = 0
    believed: int = 0
    wrong: int = 0
    held: list[Outcomes] = field(default_factory=list)


class Trust:
    """The records of all nodes, by node id. It neither has the points nor sends them anywhere."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._appeals: dict[int, str] = {}  # point id to the node on which it failed

    def judge(self, node: str, outcomes: Outcomes) -> tuple[list[Outcomes], list[str]]:
        """What of a node's outcomes counts, and the nodes that these have shown to be bad."""
        bad: list[str] = []
        count: list[Outcomes] = []
        if self._appeals:
            appealed = np.array([p in self._appeals for p in outcomes.point_id.tolist()], bool)
            if appealed.any():
                again = outcomes.take(appealed.nonzero()[0])
                bad = self._settle(node, again)
                count.append(again)
                outcomes = outcomes.take((~appealed).nonzero()[0])
        return count + self._first_instance(self._record(node), outcomes), bad

    def appeals(self, node: str, idle: bool) -> list[int]:
        """Points of a node to be evaluated on others: those held back, once they are many or it has no others."""
        record = self._record(node)
        if not record.held or (record.in_a_row < APPEAL_AFTER and not idle):
            return []
        points = [p for outcomes in record.held for p in outcomes.point_id.tolist()]
        record.held.clear()
        self._appeals |= dict.fromkeys(points, node)
        return points

    def believe(self, node: str) -> list[Outcomes]:
        """There is nobody to ask: all that is held back of a node, which counts now."""
        record = self._record(node)
        held, record.held = record.held, []
        return held

    def forget(self, node: str) -> None:
        """Give a bad node a new start; its first failures are asked about."""
        self._records[node] = _Record(in_a_row=APPEAL_AFTER - 1)

    def _record(self, node: str) -> _Record:
        return self._records.setdefault(node, _Record())

    def _first_instance(self, record: _Record, outcomes: Outcomes) -> list[Outcomes]:
        """Failures before a success count, as does the success; those after the last one are held back."""
        worked = (outcomes.status != Status.FAILED).nonzero()[0]
        n_counting = int(worked[-1]) + 1 if len(worked) else 0
        n_failed = len(outcomes) - n_counting
        count: list[Outcomes] = []
        if n_counting:
            count, record.held, record.in_a_row = record.held, [], 0
            count.append(outcomes.take(np.arange(n_counting)) if n_failed else outcomes)
        if n_failed:
            record.in_a_row += n_failed
            failed = outcomes.take(np.arange(n_counting, len(outcomes)))
            if record.believed >= n_failed:
                record.believed -= n_failed
                count.append(failed)
            else:
                record.held.append(failed)
        return count

    def _settle(self, node: str, again: Outcomes) -> list[str]:
        """The second word on some failures: the nodes found to be bad by it."""
        bad = []
        for point_id, status in zip(again.point_id.tolist(), again.status.tolist(), strict=True):
            first = self._appeals.pop(point_id)
            record = self._record(first)
            if first == node:
                continue  # the others are gone
            if status == Status.FAILED:
                record.believed, record.wrong = BELIEVED, 0
                continue
            record.wrong += 1
            if record.wrong == WRONG:
                bad.append(first)
        return bad
