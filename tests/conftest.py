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

WITH_RAY = {f"test_{name}" for name in ("metrics", "other_user", "ray_faults", "slurm", "slurm_drills")}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group(name): tests for the same one of several processes, in their order")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.DoctestItem):  # uses ``np`` without importing it; a fixture would not reach raydnnr/
            item.dtest.globs.update(np=np, numpy=np)
    if hasattr(config, "workerinput"):  # of pytest-xdist
        share_out(items)


def share_out(items: list[pytest.Item]) -> None:
    """Clusters, which mostly wait, come one after the other in one process; meanwhile the other one computes."""
    for item in items:
        name = "cluster" if item.path.stem in WITH_RAY else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(name))
    items.sort(key=lambda item: item.path.stem not in WITH_RAY)
