"""A tool for bsmart: the observables of one of our problems, and a file of all points that were asked for.

It is looked up by its file's name and driven through ``launch``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from problems import PROBLEMS


class NewTool:
    """What bsmart makes of the settings of ``Codes.raydnnr_problem``: ``problem``, ``log``, ``seed``."""

    def __init__(self, name: str, settings: Mapping[str, Any], global_settings: object = None) -> None:
        self.name, self.settings, self.citations = name, settings, None
        self._problem = PROBLEMS[settings["problem"]]
        self._log = open(settings["log"], "ab", buffering=0)  # noqa: SIM115  one write a point, as long as it lives
        np.random.seed(settings["seed"])
        random.seed(settings["seed"])

    def launch(self, spc_file: str, temp_dir: str, log: object, data_point: Any) -> None:
        """Evaluate one point.

        Raises:
            ValueError: The physics has no answer, or breaks.
        """
        u = np.array(data_point.inputs, dtype=np.float64)
        self._log.write(u.tobytes())
        values = {name: float(value[0]) for name, value in self._problem.observables(u[None, :]).items()}
        data_point.obs_dict.update(values)
        if any(math.isnan(value) for value in values.values()):
            raise ValueError("no answer")
