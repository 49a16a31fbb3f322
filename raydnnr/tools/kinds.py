"""The kinds of tools, by their word in ``kind = "..."``."""

from __future__ import annotations

from raydnnr.tools.anybsm import AnyBsm
from raydnnr.tools.fit import Fit
from raydnnr.tools.flavio import Flavio
from raydnnr.tools.flexiblesusy import FlexibleSusy
from raydnnr.tools.gm2calc import Gm2Calc
from raydnnr.tools.higgstools import HiggsTools
from raydnnr.tools.lilith import Lilith
from raydnnr.tools.micromegas import Micromegas
from raydnnr.tools.nmssmtools import NmssmTools
from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.slha_command import SlhaCommand
from raydnnr.tools.smodels import Smodels
from raydnnr.tools.softsusy import Softsusy
from raydnnr.tools.spheno import Spheno
from raydnnr.tools.superiso import SuperIso
from raydnnr.tools.susyhit import SusyHit
from raydnnr.tools.text_command import TextCommand
from raydnnr.tools.two_hdmc import TwoHdmc
from raydnnr.tools.vacuum import Vacuum

KINDS: dict[str, type] = {
    "slha": SlhaCommand, "python": PythonFunction, "command": TextCommand,
    "spheno": Spheno, "softsusy": Softsusy, "flexiblesusy": FlexibleSusy,
    "nmssmtools": NmssmTools, "2hdmc": TwoHdmc,
    "gm2calc": Gm2Calc, "superiso": SuperIso, "micromegas": Micromegas, "susyhit": SusyHit,
    "flavio": Flavio, "lilith": Lilith, "smodels": Smodels,
    "higgstools": HiggsTools, "anybsm": AnyBsm,
    "vacuum": Vacuum, "fit": Fit,
}
