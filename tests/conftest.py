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

# Where the files of tests are shared out among several processes: one mostly waits for minutes, these start Ray often
FIRST, LAST = ("test_slurm_drills",), ("test_metrics", "test_other_user", "test_ray_faults", "test_slurm")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.DoctestItem):  # uses ``np`` without importing it; a fixture would not reach raydnnr/
            item.dtest.globs.update(np=np, numpy=np)
    if hasattr(config, "workerinput"):  # of pytest-xdist
        items.sort(key=lambda item: (item.path.stem not in FIRST, item.path.stem in LAST))
