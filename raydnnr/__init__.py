"""raydnnr: find the parts of a model's parameter space that experiments allow, with few runs of the physics codes.

Importing it loads nothing heavy; the names below are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import Any

from raydnnr.version import __version__

_HOMES = {
    "raydnnr.errors": ("ConfigError", "InvalidPoint", "RaydnnrError", "ToolFailure"),
    "raydnnr.evaluation": ("Observable",),
    "raydnnr.expressions": ("Expression",),
    "raydnnr.likelihoods": ("Bias", "Cfunction", "Expuser", "Gauss", "Log", "Loguser", "Lower", "Minusexpuser", "Off",
                            "Siguser", "Upper", "User"),
    "raydnnr.plan": ("ClusterSettings", "Plan", "Stop"),
    "raydnnr.search.hybrid": ("Hybrid",),
    "raydnnr.search.mls_dnnr": ("MlsDnnr",),
    "raydnnr.search.random_sampling": ("RandomSampling",),
    "raydnnr.space": ("Parameter",),
    "raydnnr.tools.python_function": ("PythonFunction",),
    "raydnnr.tools.slha_command": ("SlhaCommand",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]

def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'raydnnr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
