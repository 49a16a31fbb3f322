"""Patience: calls into a Ray that may be gone, and then never come back."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import ray
from ray.exceptions import RayError

log = logging.getLogger(__name__)
T = TypeVar("T")


def within(seconds: float, call: Callable[[], object], what: str) -> bool:
    """Call something, but wait for its end no longer than this; whether it ended.

    Example:
        >>> import time
        >>> within(0.01, lambda: time.sleep(1), "a short sleep")
        False
    """
    def work() -> None:
        try:
            call()
        except (RayError, ValueError, RuntimeError, ConnectionError) as error:
            log.debug("%s: %s", what, error)

    thread = threading.Thread(target=work, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("Ray does not answer: %s is not waited for any longer", what)
    return not thread.is_alive()


def shut_down(seconds: float = 10.0) -> None:
    """Leave Ray, also one that is gone."""
    if not within(seconds, ray.shutdown, "leaving Ray"):
        atexit.unregister(ray.shutdown)  # it would wait again at the end of the process


class Watcher(Generic[T]):
    """Asks the same question again and again, in a thread that may hang without anybody noticing.

    Args:
        question: Asked at once, by the caller, and then every ``period_s``.
        period_s: Between an answer and the next question.
    """

    def __init__(self, question: Callable[[], T], period_s: float) -> None:
        self._question, self._period_s = question, period_s
        self.answer = question()
        self._closed = threading.Event()
        threading.Thread(target=self._work, name="watcher", daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _work(self) -> None:
        while not self._closed.wait(self._period_s):
            try:
                self.answer = self._question()
            except (RayError, ValueError, RuntimeError) as error:
                log.debug("no answer: %s", error)
