"""Search methods: how a scan finds its points."""

from __future__ import annotations

from raydnnr.search.hybrid import Hybrid
from raydnnr.search.mls_dnnr import MlsDnnr
from raydnnr.search.random_sampling import RandomSampling

KINDS: dict[str, type] = {"hybrid": Hybrid, "mls_dnnr": MlsDnnr, "random": RandomSampling}
