"""HiggsTools: limits on additional Higgs bosons and the rates of the one at 125 GeV, in process."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.tools.formulas import formula_texts
from raydnnr.tools.package_tool import FormulaTool
from raydnnr.tools.program import check_file_name
from raydnnr.tools.python_function import PythonResult
from raydnnr.tools.slot import Slot

_MASS_125 = 125.09  # GeV, of the Standard Model that ``delta_chisq`` is relative to


@dataclass(frozen=True, kw_only=True)
class HiggsTools(FormulaTool):
    """HiggsTools, which is HiggsBounds 6 and HiggsSignals 3, imported once in each slot, with its data sets.

    It works on ``input_file``, the spectrum of an earlier tool with masses, decays of the Higgs bosons and of the top
    quark, and the blocks HIGGSCOUPLINGSBOSONS and HIGGSCOUPLINGSFERMIONS (SPheno, FlexibleSUSY and FeynHiggs write
    them); or on ``predictions``, formulas of your own; or on both, where the latter win. Read from it, by ``key``:

    - ``allowed``: 1 if no Higgs boson is excluded at 95 %, else 0; ``obs_ratio``: the largest ratio of a predicted
      rate to its observed limit, of the limits that HiggsBounds selects, one for each particle; ``exp_ratio``: the same
      limit's, expected. 0 where no limit applies.
    - ``obs_ratio_<particle>``: of one particle, as ``obs_ratio_35``.
    - ``chisq``: of HiggsSignals, of ``n_observables`` measurements; ``p_value``; ``delta_chisq``: less that of the
      Standard Model with 125.09 GeV. As a likelihood, take ``0.5 * delta_chisq`` with ``kind = "minusexpuser"``.

    HiggsSignals, with its data set of 159 observables, was seen working; HiggsBounds only through made-up answers.

    What HiggsTools raises makes a point *failed*, such as a spectrum without those blocks; a prediction that is not a
    number, *invalid*. 1 to 10 ms per point with
    HiggsSignals; a start, with its import, takes 2 s or more.

    Attributes:
        bounds: Folder of HiggsBounds' data set, ``hbdataset``; none: no limits.
        signals: Folder of HiggsSignals' data set, ``hsdataset``; none: no measurements.
        neutral, charged: PDG numbers of the spin-0 particles in the file, or their names in ``predictions``.
        invisible: PDG numbers of particles that a detector does not see; none: neutrinos, and all that do not decay.
        mass_uncertainty_gev: Of the masses, where the file has no block DMASS.
        predictions: By the names that ``Higgs.tools.Input.predictionsFromDict`` knows: ``m_h`` (GeV), ``CP_h``,
            ``w_h``, ``effc_h_bb_s`` (coupling relative to the Standard Model), ``br_h_directInv``, ``cxn_...``.
        input_file: In the scratch directory; empty: none, all is in ``predictions``.
    """

    word: ClassVar[str] = "higgstools"
    table: ClassVar[str] = "predictions"
    answered_by: ClassVar[str] = "raydnnr.tools.higgstools:compare"
    paths: ClassVar[tuple[str, ...]] = ("bounds", "signals")
    citations: ClassVar[tuple[str, ...]] = ("Bahl:2022igd", "Bechtle:2020pkv", "Bechtle:2020uwn")

    bounds: Path | None = None
    signals: Path | None = None
    neutral: tuple[int | str, ...] = (25,)
    charged: tuple[int | str, ...] = ()
    invisible: tuple[int, ...] = ()
    mass_uncertainty_gev: float = 0.0
    predictions: Mapping[str, str] = field(default_factory=dict, hash=False)
    input_file: str = "spectrum.slha"
    data_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bounds is None and self.signals is None:
            raise ConfigError("bounds and signals: give one of them at least, the folder of a data set")
        for key in ("bounds", "signals"):
            if (folder := getattr(self, key)) is not None:
                object.__setattr__(self, key, Path(folder).expanduser().absolute())
        for key in ("neutral", "charged", "invisible"):
            if isinstance(getattr(self, key), str | int):
                raise ConfigError(f"{key}: got {getattr(self, key)!r}; use a list")
            object.__setattr__(self, key, tuple(getattr(self, key)))
        if not 0 <= self.mass_uncertainty_gev < math.inf:
            raise ConfigError(f"mass_uncertainty_gev: got {self.mass_uncertainty_gev!r}; use a number >= 0")
        object.__setattr__(self, "predictions", formula_texts("predictions", self.predictions))
        if self.input_file:
            check_file_name("input_file", self.input_file)
        elif not self.predictions:
            raise ConfigError("predictions: none, and no input_file; give one of them")
        object.__setattr__(self, "data_text", " ".join(_digest(f) for f in (self.bounds, self.signals)))

    def check(self) -> list[str]:
        """Whether the data sets are there, and can be read."""
        for key, folder in (("bounds", self.bounds), ("signals", self.signals)):
            if folder is not None and not any(folder.rglob("*.json")):
                return [f"{key}: {folder} is no data set: there is no JSON file in it. Get it from "
                        f"https://gitlab.com/higgsbounds/{'hbdataset' if key == 'bounds' else 'hsdataset'}"]
        return super().check()

    def fingerprint(self) -> Mapping[str, object]:
        """What is compared, and the data sets, by the names and sizes of their files."""
        return {"kind": self.word, "data": self.data_text, "predictions": dict(self.predictions),
                "particles": [list(self.neutral), list(self.charged), list(self.invisible)],
                "mass_uncertainty_gev": self.mass_uncertainty_gev, "input_file": self.input_file,
                **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        """Compare the Higgs bosons of a point with all data."""
        values = self._formulas.values(point, self.name)
        if self.input_file and not (slot.scratch / self.input_file).exists():
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}")
        return PythonResult(self.ask(slot, {**self._settings(), "file": self.input_file, "predictions": values}), {})

    def _settings(self) -> dict[str, Any]:
        return {"bounds": self.bounds and str(self.bounds), "signals": self.signals and str(self.signals),
                "neutral": list(self.neutral), "charged": list(self.charged), "invisible": list(self.invisible),
                "mass_uncertainty_gev": self.mass_uncertainty_gev}


def _digest(folder: Path | None) -> str:
    """Of a data set; empty where there is none."""
    if folder is None or not folder.is_dir():
        return ""
    files = sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*.json"))
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


# ---- in the worker

_data: dict[tuple[str, str], Any] = {}  # data sets by kind and folder
_standard_chisq: dict[int, float] = {}  # of the Standard Model, by the id of a data set in ``_data``


def compare(request: Mapping[str, Any]) -> dict[str, float]:
    """All numbers of a point; without a file, the data sets are read and nothing else."""
    bounds = _loaded("bounds", "Bounds", request["bounds"])
    signals = _loaded("signals", "Signals", request["signals"])
    if "file" not in request:
        return {}
    particles = _predictions(request)
    return {**(_limits(bounds, particles) if bounds else {}), **(_rates(signals, particles) if signals else {})}


def _loaded(module: str, name: str, folder: str | None) -> Any:
    if folder is not None and (module, folder) not in _data:
        _data[module, folder] = getattr(_higgs(module), name)(folder)
    return None if folder is None else _data[module, folder]


def _predictions(request: Mapping[str, Any]) -> Any:
    """What HiggsTools knows of the point's particles."""
    inputs = _higgs("tools.Input")
    neutral, charged = request["neutral"], request["charged"]
    found: dict[str, Any] = {}
    if request["file"]:
        found = inputs.readHB5SLHA(request["file"], neutral, charged, invisiblePDGs=request["invisible"])
    for particle in (*neutral, *charged):
        found.setdefault(f"dm_{particle}", request["mass_uncertainty_gev"])
    found |= request["predictions"]
    return inputs.predictionsFromDict(found, [str(p) for p in neutral], [str(p) for p in charged], [])


def _limits(bounds: Any, particles: Any) -> dict[str, float]:
    result = bounds(particles)
    selected = {str(name): limit for name, limit in result.selectedLimits.items()}
    worst = max(selected.values(), key=lambda limit: float(limit.obsRatio()), default=None)
    return {"allowed": float(result.allowed), "obs_ratio": worst.obsRatio() if worst else 0.0,
            "exp_ratio": worst.expRatio() if worst else 0.0,
            **{f"obs_ratio_{name}": float(limit.obsRatio()) for name, limit in selected.items()}}


def _rates(signals: Any, particles: Any) -> dict[str, float]:
    from scipy.special import gammaincc

    chisq, n_observables = float(signals(particles)), int(signals.observableCount())
    if id(signals) not in _standard_chisq:
        _standard_chisq[id(signals)] = float(signals(_standard_model()))
    return {"chisq": chisq, "n_observables": float(n_observables), "delta_chisq": chisq - _standard_chisq[id(signals)],
            "p_value": float(gammaincc(n_observables / 2, chisq / 2))}


def _standard_model() -> Any:
    predictions = _higgs("predictions")
    particles = predictions.Predictions()
    higgs = particles.addParticle(predictions.NeutralScalar("h", "even"))
    higgs.setMass(_MASS_125)
    predictions.effectiveCouplingInput(higgs, predictions.smLikeEffCouplings)
    return particles


def _higgs(module: str) -> Any:
    return importlib.import_module(f"Higgs.{module}")  # here: this module is read where HiggsTools may not be
