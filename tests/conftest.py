"""What all tests share."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# A law is asked often at a desk, and more often in CI. Times differ too much between machines for a deadline.
settings.register_profile("local", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), max_examples=300, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "local"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples in docstrings use ``np`` without importing it; a fixture of this file would not reach ``raydnnr/``."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.dtest.globs.update(np=np, numpy=np)
