"""anyBSM: the trilinear coupling of the Higgs boson at one loop in any model with a UFO file, in process."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from raydnnr.errors import ConfigError
from raydnnr.tools.formulas import formula_texts
from raydnnr.tools.package_tool import FormulaTool
from raydnnr.tools.python_function import PythonResult
from raydnnr.tools.slot import Slot

_KEYS = {  # ours: anyBSM's
    "lambda_hhh": "total", "lambda_hhh_tree": "treelevel", "genuine": "genuine", "external_legs": "wfr",
    "tadpoles": "tads", "mass_counterterms": "massren", "vev_counterterm": "vevren", "custom_counterterms": "customren",
}

_STANDARD_GEV = 3 * 125.1**2 / 246.22  # the Standard Model's, at tree level


@dataclass(frozen=True, kw_only=True)
class AnyBsm(FormulaTool):
    """anyBSM (``pip install anyBSM``), imported once in each slot, with its model and diagrams.

    Read from it, by ``key``, in GeV, real parts at zero momentum: ``lambda_hhh``, the coupling at one loop, and
    ``lambda_hhh_tree``; and what is between them, ``genuine``, ``external_legs``, ``tadpoles``, ``mass_counterterms``,
    ``vev_counterterm``, ``custom_counterterms``. ``kappa_lambda`` is the coupling over 190.8 GeV, that of the Standard
    Model at tree level: 3 m_h² / v with 125.1 GeV and 246.22 GeV.

    A point is *invalid* where a parameter or a coupling is not a number. *Failed*: what anyBSM raises, such as no
    particle in the model that looks like the Higgs boson.

    The diagrams of a model are found at the first point ever, for a minute or more, and kept in the folder ``cache``
    of the model, which must be writable; from then on, 0.1 s per point.

    Attributes:
        model: Folder of a UFO model as anyBSM wants it (``anyBSM_import`` converts others), with a slash in it; or the
            name of one of anyBSM's own, which it downloads when it is first started by hand.
        parameters: The model's external parameters, by the names in its ``parameters.py``, as expressions.
        scheme: Renormalisation scheme of the model's ``schemes.yml``; empty: its default.
    """

    word: ClassVar[str] = "anybsm"
    table: ClassVar[str] = "parameters"
    answered_by: ClassVar[str] = "raydnnr.tools.anybsm:couplings"
    citations: ClassVar[tuple[str, ...]] = ("Bahl:2023eau",)

    model: str
    parameters: Mapping[str, str] = field(hash=False)
    scheme: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"model: got {self.model!r}; use the folder of a UFO model, or a name that anyBSM knows")
        if "/" in self.model:
            object.__setattr__(self, "model", str(Path(self.model).expanduser().absolute()))
        object.__setattr__(self, "parameters", formula_texts("parameters", self.parameters))

    @classmethod
    def resolve(cls, settings: Mapping[str, object], folder: Path) -> dict[str, object]:
        """A model with a slash is relative to ``folder``."""
        found = super().resolve(settings, folder)
        if isinstance(model := found.get("model"), str) and "/" in model:
            found["model"] = str(folder / Path(model).expanduser())
        return found

    def check(self) -> list[str]:
        """Whether the model is there, and can be read."""
        if "/" in self.model and not os.path.isdir(self.model):
            return [f"there is no model {self.model}: no such folder"]
        return super().check()

    def fingerprint(self) -> Mapping[str, object]:
        """The model, without the folder it is in, its parameters and the scheme."""
        return {"kind": self.word, "model": os.path.basename(self.model), "scheme": self.scheme,
                "parameters": dict(self.parameters), **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        """The coupling, and what it is made of."""
        values = self._formulas.values(point, self.name)
        return PythonResult(self.ask(slot, {**self._settings(), "parameters": values}), {})

    def _settings(self) -> dict[str, Any]:
        return {"model": self.model, "scheme": self.scheme}


# ---- in the worker

_models: dict[str, Any] = {}  # by name and scheme


def couplings(request: Mapping[str, Any]) -> dict[str, float]:
    """The contributions to the coupling, GeV; without parameters, the model is read and nothing else."""
    name, scheme = request["model"], request["scheme"]
    if (key := f"{name}:{scheme}") not in _models:
        # It asks nobody, and draws no progress bar.
        model = _class_of(name)(name, scheme_name=scheme or None, ask=False, quiet=True, progress=False)
        _models[key] = model
    if "parameters" not in request:
        return {}
    _models[key].setparameters(request["parameters"])
    found = _models[key].lambdahhh()
    values = {ours: float(complex(found[its]).real) for ours, its in _KEYS.items() if its in found}
    return {**values, "kappa_lambda": values["lambda_hhh"] / _STANDARD_GEV}


def _class_of(model: str) -> Any:
    """anyBSM's class. At its import it wants a folder of models, and would ask for one and fill it from the net."""
    if "/" not in model:
        return importlib.import_module("anyBSM").anyBSM  # here: this module is read where anyBSM may not be
    with tempfile.TemporaryDirectory() as folder, _variable("anyBSM_CONF_DIR", folder):
        models = json.dumps(os.path.dirname(model))  # as good as YAML
        Path(folder, "anyBSM_config.yaml").write_text(f"models_dir: {models}\n", encoding="utf-8")
        return importlib.import_module("anyBSM").anyBSM


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for as long as this lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
