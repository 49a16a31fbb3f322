"""Memo: what was learned, by what it was learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Memo:
    """What was learned at milestones, by what it was learned from. At most ``size`` things are kept."""

    size: int = 1024
    known: dict[bytes, Any] = field(default_factory=dict)

    def get(self, key: bytes, learn: Callable[[], Any]) -> Any:
        """What is known of this key, or is learned now."""
        if key not in self.known:
            while len(self.known) >= self.size:
                del self.known[next(iter(self.known))]
            self.known[key] = learn()
        return self.known[key]
