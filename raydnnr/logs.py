"""Logs: words for people on stderr, as long as somebody listens, and for later in ``scan.log``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "raydnnr"


def say(text: str) -> None:
    """Print to stderr. A scan goes on when the terminal or the pipe behind it is gone."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass


class Warnings(logging.Handler):
    """Prints to what ``sys.stderr`` is at the time: the live display puts itself in its place."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        say(self.format(record))


def show_warnings() -> None:
    """Show the package's warnings on stderr; once, however often it is called."""
    logger = logging.getLogger(PACKAGE)
    if not any(isinstance(handler, Warnings) for handler in logger.handlers):
        logger.addHandler(Warnings())


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Log into a file while the context lasts."""
    path.touch(mode=0o600)  # it names points and hosts: for its owner only, as all of a run directory
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger(PACKAGE)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
