"""SModelS: LHC searches for new particles, from a spectrum with decays and cross sections, in process."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.tools.package_tool import PackageTool
from raydnnr.tools.program import check_file_name
from raydnnr.tools.python_function import PythonResult
from raydnnr.tools.slot import Slot


@dataclass(frozen=True, kw_only=True)
class Smodels(PackageTool):
    """SModelS 3 (``pip install smodels``), imported once in each slot, with its database.

    It works on ``input_file``, the spectrum of an earlier tool, with the decays of new particles and their cross
    sections: blocks XSECTION in pb, which a spectrum generator does not write. Read from it, by ``key``:

    - ``r``: largest ratio of what the model predicts to the observed limit of a search; 1 or more is excluded. 0
      where no search applies.
    - ``r_expected``: the same for the limits that were expected, of the searches that say them.
    - ``n_results``: number of results that apply.

    A point is *failed* where the file has no cross sections of particles of the model, no decays, or no masses; SModelS
    calls none *invalid*. 0.5 s per point with the database of all results, and memory grows: see ``recycle_gib``.

    When a database is read as text for the first time, SModelS leaves a faster copy in its folder: for the official one
    that takes long, so do it once by hand, ``python -c "from smodels.experiment.databaseObj import Database as D;
    D('FOLDER')"``. The faster copy is a pickle: use databases that you trust.

    Attributes:
        database: Its folder, or the file of a faster copy. Nothing is downloaded.
        particles: The model: ``mssm``, ``nmssm`` or another one that comes with SModelS, or a module of your own.
        input_file: In the scratch directory.
        sigma_cut_fb: Decay chains with a smaller cross section are left out, fb.
        min_mass_gap: Masses that differ by less count as equal, GeV.
        max_condition: Results whose assumptions are violated by more are left out.
    """

    word: ClassVar[str] = "smodels"
    answered_by: ClassVar[str] = "raydnnr.tools.smodels:confront"
    paths: ClassVar[tuple[str, ...]] = ("database",)
    citations: ClassVar[tuple[str, ...]] = ("Kraml:2013mwa", "Altakach:2024jwk")

    database: Path
    particles: str = "mssm"
    input_file: str = "spectrum.slha"
    sigma_cut_fb: float = 0.005
    min_mass_gap: float = 5.0
    max_condition: float = 0.2
    recycle_gib: float | None = 2.0
    version_text: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "database", Path(self.database).expanduser().absolute())
        super().__post_init__()
        if not isinstance(self.particles, str) or not re.fullmatch(r"\w+(\.\w+)*", self.particles):
            raise ConfigError(f"particles: got {self.particles!r}; use mssm, nmssm, idm, or the name of a module")
        check_file_name("input_file", self.input_file)
        for key in ("sigma_cut_fb", "min_mass_gap", "max_condition"):
            self._need_positive(key, getattr(self, key))
        object.__setattr__(self, "version_text", _version(self.database))

    def check(self) -> list[str]:
        """Whether the database is there, and can be read."""
        if not self.database.exists():
            return [f"there is no database {self.database}; get one from "
                    "https://github.com/SModelS/smodels-database-release"]
        return super().check()

    def uses(self, names: Iterable[str]) -> set[str]:
        """None: it works on a file."""
        return set()

    def fingerprint(self) -> Mapping[str, object]:
        """Name and version of the database, the model, and what is left out."""
        return {"kind": self.word, "database": [self.database.name, self.version_text], "particles": self.particles,
                "cuts": [self.sigma_cut_fb, self.min_mass_gap, self.max_condition], "input_file": self.input_file,
                **self._common_fingerprint()}

    def run(self, point: Mapping[str, float], slot: Slot) -> PythonResult:
        """Confront the spectrum with the searches."""
        if not (slot.scratch / self.input_file).is_file():
            raise ToolFailure(f"{self.name}: no earlier tool left {self.input_file}")
        return PythonResult(self.ask(slot, {**self._settings(), "file": self.input_file}), {})

    def _settings(self) -> dict[str, Any]:
        return {"database": str(self.database), "particles": self.particles, "sigma_cut_fb": self.sigma_cut_fb,
                "min_mass_gap": self.min_mass_gap, "max_condition": self.max_condition}


def _version(database: Path) -> str:
    """What the database says of its version; empty where it does not."""
    try:
        return (database / "version").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


# ---- in the worker

_databases: dict[str, Any] = {}  # by folder


def confront(request: Mapping[str, Any]) -> dict[str, float]:
    """The largest ratios to limits; without a file, the database is read and nothing else."""
    name = request["database"]
    if name not in _databases:
        _databases[name] = _module("experiment.databaseObj").Database(name)
    if "file" not in request:
        _bsm_particles(request["particles"])
        return {}
    units = _module("base.physicsUnits")
    model = _module("base.model").Model(BSMparticles=_bsm_particles(request["particles"]),
                                        SMparticles=_module("share.models.SMparticles").SMList)
    model.updateParticles(inputFile=request["file"], ignorePromptQNumbers=["eCharge", "colordim", "spin"])
    chains = _module("decomposition.decomposer").decompose(
        model, request["sigma_cut_fb"] * units.fb, massCompress=True, invisibleCompress=True,
        minmassgap=request["min_mass_gap"] * units.GeV)
    predictions = _module("matching.theoryPrediction").theoryPredictionsFor(_databases[name], chains,
                                                                           combinedResults=True)
    return _summary([p for p in predictions or () if not (p.getmaxCondition() or 0.0) > request["max_condition"]])


def _summary(predictions: list[Any]) -> dict[str, float]:
    before_data = getattr(_module("statistics.basicStats"), "apriori", True)  # True: in SModelS 3.0
    observed = [r for p in predictions if (r := p.getRValue()) is not None and math.isfinite(r)]
    expected = [r for p in predictions if (r := p.getRValue(before_data)) is not None and math.isfinite(r)]
    return {"r": max(observed, default=0.0), "r_expected": max(expected, default=0.0),
            "n_results": float(len(observed))}


def _bsm_particles(name: str) -> Any:
    """The list of new particles of a model."""
    own = "." in name or importlib.util.find_spec(f"smodels.share.models.{name}") is None
    return importlib.import_module(name if own else f"smodels.share.models.{name}").BSMList


def _module(name: str) -> Any:
    return importlib.import_module(f"smodels.{name}")  # here: this module is read where SModelS may not be
