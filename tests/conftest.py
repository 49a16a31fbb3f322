"""What all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A law is asked many times in CI, often enough at a desk. Times differ too much between machines for a deadline.
settings.register_profile("local", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), max_examples=300, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "local"))


@pytest.fixture(autouse=True)
def _doctest_names(request: pytest.FixtureRequest) -> None:
    """Examples in docstrings may use ``np`` (and ``numpy``) without importing it."""
    if isinstance(request.node, pytest.DoctestItem):
        import numpy

        request.getfixturevalue("doctest_namespace").update(np=numpy, numpy=numpy)
