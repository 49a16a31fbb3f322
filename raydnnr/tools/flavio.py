"""flavio: flavour observables as functions of Wilson coefficients, in process."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from raydnnr.errors import ConfigError, ToolFailure, did_you_mean
from raydnnr.evaluation import Source
from raydnnr.tools.base import Result
from raydnnr.tools.formulas import formula_texts
from raydnnr.tools.package_tool import FormulaTool
from raydnnr.tools.program import check_file_name
from raydnnr.tools.slot import Slot

_KEYS = ("prediction", "args", "less_sm")


@dataclass(frozen=True)
class Prediction:
    """``{prediction = "<Rmue>(B+->Kll)", args = [1.1, 6.0]}``: an observable by flavio's name, and its arguments."""

    tool: str
    prediction: str
    args: tuple[float, ...] = ()


@dataclass(frozen=True)
class Difference(Prediction):
    """With ``less_sm = true``: what new physics changes, the prediction less that of the Standard Model."""

    less_sm: bool = True


@dataclass(frozen=True)
class Coefficients(Result):
    """What a point's Wilson coefficients are or where they stand, and the slot whose process predicts from them."""

    request: Mapping[str, Any]
    slot: Slot


@dataclass(frozen=True, kw_only=True)
class Flavio(FormulaTool):
    """flavio (with ``particle<1``), imported once in each slot: 5 to 10 s and 0.8 GB.

    An observable is predicted when it is read, in the order of the configuration: where a cheap one is outside its
    ``valid`` range, the dear ones after it are not computed. flavio's parameters stay at their central values.

    A point is *invalid* where a coefficient or a prediction is not a number; what flavio raises makes it *failed*, and
    so does a file of coefficients that is not there.

    Attributes:
        coefficients: New-physics parts of Wilson coefficients, by name, as expressions over what is known of the point.
            Names that end in ``.im`` are imaginary parts.
        scale: Where they are given, GeV.
        eft, basis: In which effective theory and basis of the WCxf standard.
        wcxf_file: In place of the four: a file that an earlier tool leaves in the scratch directory, with coefficients
            in the WCxf standard (arXiv:1712.05298; SPheno's ``WC.<model>.json``).
        timeout_s: Of one prediction.
    """

    word: ClassVar[str] = "flavio"
    table: ClassVar[str] = "coefficients"
    answered_by: ClassVar[str] = "raydnnr.tools.flavio:predict"
    citations: ClassVar[tuple[str, ...]] = ("Straub:2018kue", "Aebischer:2018bkb")

    coefficients: Mapping[str, str] = field(default_factory=dict, hash=False)
    scale: float | None = None
    eft: str = "WET"
    basis: str = "flavio"
    wcxf_file: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wcxf_file:
            check_file_name("wcxf_file", self.wcxf_file)
            if self.coefficients or self.scale is not None:
                raise ConfigError("wcxf_file: a file says coefficients and scale itself; leave these out")
            return
        self._need_positive("scale", self.scale)
        if not isinstance(self.coefficients, Mapping) or not self.coefficients:
            raise ConfigError(f"coefficients: got {self.coefficients!r}; use a table such as {{ C9_bsmumu = 'c9' }}, "
                              "or wcxf_file")
        object.__setattr__(self, "coefficients", formula_texts("coefficients", self.coefficients))

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{prediction = "BR(Bs->mumu)"}``, with ``args`` where it has arguments: bins in q² (GeV²), masses.

        With ``less_sm = true`` the prediction of the Standard Model is subtracted.
        """
        where = f"observables.{observable}.from"
        for key in settings:
            if key not in (*_KEYS, "tool"):
                raise ConfigError(f"{where}: no setting {key!r} for flavio; it accepts tool, {', '.join(_KEYS)}."
                                  + did_you_mean(key, _KEYS))
        name, args = settings.get("prediction"), settings.get("args", [])
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{where}.prediction: got {name!r}; use flavio's name, such as 'BR(Bs->mumu)'")
        if not isinstance(args, list | tuple) or any(type(a) not in (int, float) for a in args):
            raise ConfigError(f"{where}.args: got {args!r}; use a list of numbers")
        if not isinstance(less := settings.get("less_sm", False), bool):
            raise ConfigError(f"{where}.less_sm: got {less!r}; use true or false")
        return (Difference if less else Prediction)(self.name, name, tuple(float(a) for a in args))

    def fingerprint(self) -> Mapping[str, object]:
        """Coefficients, scale and basis."""
        return {"kind": self.word, "coefficients": dict(self.coefficients), **self._settings(),
                **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> Coefficients:  # type: ignore[override]
        """The coefficients of the point; nothing is predicted yet."""
        if not self.wcxf_file:
            return Coefficients({**self._settings(), "coefficients": self._formulas.values(point, self.name)}, slot)
        path = slot.scratch / self.wcxf_file
        if not path.is_file():
            raise ToolFailure(f"{self.name}: no earlier tool left {self.wcxf_file}")
        return Coefficients({"wcxf": path.read_text(encoding="utf-8", errors="replace")}, slot)

    def read(self, result: Result, source: Source) -> float:
        """Predict."""
        assert isinstance(result, Coefficients) and isinstance(source, Prediction)
        request = {**result.request, "prediction": source.prediction, "args": list(source.args),
                   "less_sm": isinstance(source, Difference)}
        return self.ask(result.slot, request)["value"]

    def _settings(self) -> dict[str, Any]:
        if self.wcxf_file:
            return {"wcxf_file": self.wcxf_file}
        return {"scale": self.scale, "eft": self.eft, "basis": self.basis}


# ---- in the worker

_KNOWN = ("coefficients", "scale", "eft", "basis", "wcxf")  # of a request: what its coefficients are
_last: dict[str, Any] = {}  # coefficients of the last point and what was made of them


def predict(request: Mapping[str, Any]) -> dict[str, float]:
    """One prediction; without a name of one, only the import."""
    flavio = importlib.import_module("flavio")  # here: this module is read where flavio may not be
    if "prediction" not in request:
        return {}
    key = tuple(request.get(word) for word in _KNOWN)
    if _last.get("key") != key:
        _last.update(key=key, wilson=_wilson(request))
    name, args = request["prediction"], request["args"]
    standard = float(flavio.sm_prediction(name, *args)) if request["less_sm"] else 0.0
    return {"value": float(flavio.np_prediction(name, _last["wilson"], *args)) - standard}


def _wilson(request: Mapping[str, Any]) -> Any:
    """The coefficients as the package wilson wants them."""
    kind = importlib.import_module("wilson").Wilson
    if "wcxf" in request:
        return kind.load_wc(io.StringIO(request["wcxf"]))
    complexes: dict[str, complex] = {}
    for name, value in request["coefficients"].items():
        real = name.removesuffix(".im")
        complexes[real] = complexes.get(real, 0.0) + (1j * value if name.endswith(".im") else value)
    return kind(complexes, scale=request["scale"], eft=request["eft"], basis=request["basis"])
