"""New configurations: the codes that a user names -> a commented TOML file, and the input cards it needs.

What is written is meant to be edited, but it is a valid configuration as it stands (`tests/unit/test_newconfig.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raydnnr.config import DEFAULT_METHOD
from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.search import methods
from raydnnr.tools.kinds import KINDS

Ask = Callable[[str, str], str]  # a question and its default -> the answer


@dataclass(frozen=True)
class Range:
    """A parameter to scan."""

    name: str
    low: str
    high: str
    prior: str = "uniform"


@dataclass(frozen=True)
class Part:
    """What one kind of tool looks like: its ``[[tools]]`` table, an observable read from it, and its input card.

    ``{name}`` stands for the tool's name, ``{stem}`` for that of the configuration.
    """

    table: str
    observable: str
    card: str = ""  # how the input card is written: slha, text or xml; empty: there is none


CMSSM = (Range("m0", "100", "3000"), Range("m12", "100", "3000"), Range("A0", "-6000", "6000"),
         Range("tanb", "2", "60"))
PLAIN = (Range("x", "0", "1"), Range("y", "0", "1"))
_MINPAR = {"m0": 1, "m12": 2, "tanb": 3, "A0": 5}
_FIXED = {"m0": 1000, "m12": 1000, "A0": 0, "tanb": 10}  # those of the constrained MSSM that are not scanned

_HIGGS = '''\
[observables.m_h]                  # 2 GeV is the theory's uncertainty
from = { tool = "{name}", block = "MASS", key = [25] }
likelihood = { kind = "gauss", mean = 125.25, sigma = 2.0 }
unit = "GeV"
'''
_GENERATOR = '''\
program = "{program}"              # on the PATH, or a path
template = "{stem}.{name}.in"      # value fields may hold expressions of parameters
timeout_s = 60
# invalid_warnings = ["LSP"]       # warnings (SPINFO 3) that make a point invalid
# conditions = ["m_h > 100"]       # a point that does not meet them stops here, and is invalid
'''

PARTS: dict[str, Part] = {
    "spheno": Part(_GENERATOR.replace("{program}", "SPheno"), _HIGGS, "slha"),
    "softsusy": Part(_GENERATOR.replace("{program}", "softpoint.x"), _HIGGS, "slha"),
    "flexiblesusy": Part(_GENERATOR.replace("{program}", "run_CMSSM.x"), _HIGGS, "slha"),
    "slha": Part('''\
command = ["my-generator", "{input}", "{output}"]   # no shell; a path, or on the PATH
template = "{stem}.{name}.in"      # value fields may hold expressions of parameters
output_file = "spectrum.slha"      # what later tools read
timeout_s = 60
''', _HIGGS, "slha"),
    "python": Part('''\
function = "my_physics:observables"   # my_physics.py beside this file: f(point: dict) -> dict of numbers
# vectorized = true                # arrays in, arrays out
''', '''\
[observables.{name}_value]
from = { tool = "{name}", key = "value" }
likelihood = { kind = "gauss", mean = 0.0, sigma = 1.0 }
'''),
    "command": Part('''\
command = ["my-code", "{input}"]   # no shell; an argument may be an expression in braces, "--x={x}"
template = "{stem}.{name}.txt"     # expressions stand in double braces, {{ x }}
input_file = "{name}.txt"
timeout_s = 60
''', '''\
[observables.{name}_value]
from = { tool = "{name}", pattern = 'value = (\\S+)' }   # or json = ["key", 0], csv = "column", line = 1 and column = 2
likelihood = { kind = "gauss", mean = 0.0, sigma = 1.0 }
''', "text"),
    "gm2calc": Part('''\
program = "gm2calc.x"              # on spectrum.slha, which a tool before it leaves
timeout_s = 20
''', '''\
[observables.delta_a_mu]           # recorded; give it a likelihood to use it
from = { tool = "{name}", block = "GM2CalcOutput", key = [0] }
'''),
    "superiso": Part('''\
program = "slha.x"                 # on spectrum.slha, which a tool before it leaves
timeout_s = 60
''', '''\
[observables.br_bsgamma]           # 3.49(19)e-4 (HFLAV, arXiv:2206.07501)
from = { tool = "{name}", quantity = "BR(b->s gamma)" }
likelihood = { kind = "gauss", mean = 3.49e-4, sigma = 0.25e-4 }
'''),
    "micromegas": Part('''\
program = "MSSM/main"              # built in the folder of a model; on spectrum.slha, which a tool before it leaves
timeout_s = 600                    # it compiles what it meets for the first time
''', '''\
[observables.omega]                # Planck, arXiv:1807.06209; 10 % for what is computed
from = { tool = "{name}", quantity = "omega" }
likelihood = { kind = "gauss", mean = 0.12, sigma = 0.012 }
valid = [0, 1e6]                   # micrOMEGAs gives -1 where it finds no answer
'''),
    "flavio": Part('''\
scale = 4.8                        # GeV, of the Wilson coefficients
coefficients = { C9_bsmumu = "{first}" }   # expressions of parameters
timeout_s = 120
''', '''\
[observables.br_bs_mumu]           # 3.36(28)e-9 (arXiv:2212.10497)
from = { tool = "{name}", prediction = "BR(Bs->mumu)" }
likelihood = { kind = "gauss", mean = 3.36e-9, sigma = 0.30e-9 }
'''),
    "lilith": Part('''\
folder = "Lilith-2"                # the folder that holds lilith and data
template = "{stem}.{name}.xml"     # expressions stand in double braces, {{ x }}
timeout_s = 20
''', '''\
[observables.m2logl]
from = { tool = "{name}", key = "minus_2_log_l" }

[observables.nll_higgs]            # about 0 for the Standard Model
expression = "0.5 * (m2logl - 55)"
likelihood = { kind = "minusexpuser" }
''', "xml"),
    "susyhit": Part('''\
program = "SUSY-HIT/run"           # on spectrum.slha, which a tool before it leaves
options = "SUSY-HIT/susyhit.in"    # a copy of its susyhit.in, with 2 as its first answer
timeout_s = 60
''', '''\
[observables.br_h_bb]
from = { tool = "{name}", br = [25, 5, -5] }
'''),
    "nmssmtools": Part('''\
program = "nmhdecay"               # on the PATH, or a path; nmspec takes parameters at the unification scale
data = "EXPCON"                    # its folder of experimental tables
template = "{stem}.{name}.in"      # it wants MODSEL 3 1 and EXTPAR 61 to 65: see configs/nmssm_nmssmtools.in
timeout_s = 60
# invalid_warnings = ["LEP"]       # its own comparison with experiments (SPINFO 3): makes a point invalid
''', _HIGGS, "slha"),
    "2hdmc": Part('''\
program = "CalcPhys"               # on the PATH, or a path
# m_h, m_H, m_A, m_H+, sin(beta - alpha), lambda_6, lambda_7, m12^2, tan(beta), type: numbers and expressions
parameters = [125.1, "200 + 300 * {first}", 350, 350, 0.99, 0, 0, 20_000, 5, 1]
timeout_s = 20
# conditions = ["stability"]       # with an observable of this name: points where it does not hold are invalid
''', '''\
[observables.T]                    # oblique parameter; 0.03(12) (Particle Data Group 2022)
from = { tool = "{name}", quantity = "T" }
likelihood = { kind = "gauss", mean = 0.03, sigma = 0.12 }

[observables.stability]            # 1: the potential is bounded from below
from = { tool = "{name}", quantity = "stability" }
'''),
    "higgstools": Part('''\
signals = "hsdataset"              # the folder of HiggsSignals' data set; bounds = "hbdataset": of HiggsBounds'
neutral = [25, 35, 36]             # on spectrum.slha, which has HIGGSCOUPLINGSBOSONS and HIGGSCOUPLINGSFERMIONS
charged = [37]
timeout_s = 60
''', '''\
[observables.delta_chisq]          # of the rates at 125 GeV, less that of the Standard Model
from = { tool = "{name}", key = "delta_chisq" }

[observables.nll_rates]
expression = "0.5 * delta_chisq"
likelihood = { kind = "minusexpuser" }
'''),
    "anybsm": Part('''\
model = "ufo/model"                # the folder of a UFO model that anyBSM can use; without a slash: one of its own
parameters = { MH = "{first}" }    # external parameters of the model, as expressions
timeout_s = 600                    # the first point ever takes minutes
''', '''\
[observables.kappa_lambda]         # between -1.2 and 7.2 at 95 % (ATLAS, arXiv:2406.09971)
from = { tool = "{name}", key = "kappa_lambda" }
likelihood = { kind = "cfunction", lower_bound = -1.2, upper_bound = 7.2 }
'''),
    "vacuum": Part('''\
potential = "0.03 * (phi**2 - 246.22**2)**2 - {first} / 100 * (phi**3 / 3 - 246.22**2 * phi)"   # GeV^4
fields = { phi = 246.22 }          # where our vacuum is, GeV
''', '''\
[observables.action]               # of the decay; above about 440, ours lives longer than the universe
from = { tool = "{name}" }
likelihood = { kind = "lower", mean = 440, sigma = 10 }
'''),
    "smodels": Part('''\
database = "smodels-database"      # its folder; nothing is downloaded
particles = "mssm"                 # on spectrum.slha, which has decays and cross sections (blocks XSECTION)
timeout_s = 120
''', '''\
[observables.r_lhc]                # prediction over limit: 1 is excluded
from = { tool = "{name}", key = "r" }
likelihood = { kind = "upper", mean = 1.0, sigma = 0.1 }
'''),
}


def new_config(path: Path, tools: Sequence[str], ranges: Sequence[Range] = (), method: str = DEFAULT_METHOD
               ) -> dict[Path, str]:
    """The files of a new configuration, by their paths; nothing is written.

    Args:
        path: Of the configuration.
        tools: Kinds of tools, in the order in which they run.
        ranges: What to scan; by default the constrained MSSM for spectrum generators, else x and y.
        method: Search method.

    Raises:
        ConfigError: No tool, one that there is no example of, or no such method.
    """
    if not tools:
        raise ConfigError(f"--tools: name one or more of {', '.join(PARTS)}")
    for kind in tools:
        if kind not in PARTS:
            raise ConfigError(f"--tools: no tool {kind!r}; there are {', '.join(PARTS)}.{did_you_mean(kind, PARTS)}")
        if list(tools).count(kind) > 1:
            raise ConfigError(f"--tools: {kind} twice; add the second one by hand, with another name")
    if method not in methods.KINDS:
        raise ConfigError(f"--method: no method {method!r}; there are {', '.join(methods.KINDS)}."
                          + did_you_mean(method, methods.KINDS))
    ranges = tuple(ranges) or (CMSSM if any(PARTS[kind].card == "slha" for kind in tools) else PLAIN)
    files = {path: _toml(path, tools, ranges, method)}
    for kind in tools:
        if card := PARTS[kind].card:
            ending = {"slha": "in", "text": "txt", "xml": "xml"}[card]
            files[path.with_name(f"{path.stem}.{kind}.{ending}")] = _CARDS[card](ranges)
    return files


def parse_range(text: str) -> Range:
    """``name=low:high`` or ``name=low:high:prior``.

    >>> parse_range("tanb=2:60:log")
    Range(name='tanb', low='2', high='60', prior='log')
    """
    match = re.fullmatch(r"\s*(\w+)\s*=\s*([^:\s]+)\s*:\s*([^:\s]+)\s*(?::\s*(\w+)\s*)?", text)
    try:
        if match is None:
            raise ValueError
        float(match[2]), float(match[3])
    except ValueError:
        raise ConfigError(f"--scan {text}: write name=low:high or name=low:high:prior, such as tanb=2:60:log") from None
    return Range(match[1], match[2], match[3], match[4] or "uniform")


def interview(ask: Ask) -> tuple[list[str], list[Range], str]:
    """Tools, ranges and method, by asking."""
    tools = ask(f"Codes, in the order they run ({', '.join(PARTS)})", "python")
    scanned = ask("Parameters to scan, name=low:high[:prior], separated by blanks (none: an example)", "")
    method = ask(f"Search method ({', '.join(methods.KINDS)})", DEFAULT_METHOD)
    return re.split(r"[,\s]+", tools.strip()), [parse_range(word) for word in scanned.split()], method.strip()


def _toml(path: Path, tools: Sequence[str], ranges: Sequence[Range], method: str) -> str:
    """The configuration: its head, the parameters, then each tool and what is read from it."""
    return "\n".join([*_head(path, tools, method), *_parameters(tools, ranges), *_tools(path, tools, ranges),
                      *_observables(path, tools, ranges)]) + "\n"


def _head(path: Path, tools: Sequence[str], method: str) -> list[str]:
    return [
        f"# A scan with {', '.join(tools)}. Look at every line, then:",
        "#",
        f"#     raydnnr check {path.name} --point      finds mistakes, and runs one point",
        f"#     python -m raydnnr.run {path.name}",
        "", "[scan]", f'name = "{path.stem}"', "seed = 1",
        "threshold_value = 1.0              # a point is good when its NLL is below this",
        "points = 1000                      # stop at so many good ones",
        "max_evaluations = 20_000           # or when so many were evaluated",
        "# max_hours = 23.5", "", "[search]", f'method = "{method}"',
    ]


def _parameters(tools: Sequence[str], ranges: Sequence[Range]) -> list[str]:
    lines = ["", "[parameters]                       # priors: uniform, log, symlog, normal, ...",
             *(_parameter(r) for r in ranges)]
    lines += [f"{name} = {{ value = {_FIXED[name]} }}" for name in _fixed(tools, ranges)]
    if any(PARTS[kind].card == "slha" for kind in tools) and "sgnmu" not in {r.name for r in ranges}:
        lines.append("sgnmu = { value = 1 }              # fixed")
    return lines


def _tools(path: Path, tools: Sequence[str], ranges: Sequence[Range]) -> list[str]:
    lines = []
    for kind in tools:
        about = (KINDS[kind].__doc__ or "").splitlines()[0]
        lines += ["", "[[tools]]                          # " + about, f'name = "{kind}"', f'kind = "{kind}"',
                  _filled(PARTS[kind].table, path, kind, ranges).rstrip()]
    return lines


def _observables(path: Path, tools: Sequence[str], ranges: Sequence[Range]) -> list[str]:
    """Those of all tools, each name once; the last one gets a likelihood where there is none."""
    lines, seen = [], set()
    for kind in tools:
        text = _filled(PARTS[kind].observable, path, kind, ranges)
        if (first := text.splitlines()[0]) not in seen:
            lines += ["", text.rstrip()]
        seen.add(first)
    if "likelihood" not in "".join(PARTS[kind].observable for kind in tools):
        lines.append("likelihood = { kind = \"gauss\", mean = 0.0, sigma = 1.0 }")
    return lines


def _fixed(tools: Sequence[str], ranges: Sequence[Range]) -> list[str]:
    """What a card of the constrained MSSM wants beside what is scanned; nothing for other models."""
    scanned = {r.name for r in ranges}
    on_a_card = any(PARTS[kind].card == "slha" for kind in tools)
    return [name for name in _FIXED if name not in scanned] if on_a_card and scanned & _FIXED.keys() else []


def _parameter(r: Range) -> str:
    prior = "" if r.prior == "uniform" else f', prior = "{r.prior}"'
    return f"{r.name} = {{ low = {r.low}, high = {r.high}{prior} }}"


def _filled(text: str, path: Path, kind: str, ranges: Sequence[Range]) -> str:
    for word, value in (("name", kind), ("stem", path.stem), ("first", ranges[0].name)):
        text = text.replace(f"{{{word}}}", value)
    return text


def _slha_card(ranges: Sequence[Range]) -> str:
    names = [*(r.name for r in ranges), *_fixed(("slha",), ranges)]
    entries = [f"    {_MINPAR.get(name, 100 + k)}   {name}" for k, name in enumerate(names)]
    return ("# A card in the SUSY Les Houches Accord (hep-ph/0311123). A value field may hold an expression of the\n"
            "# parameters; numbers are passed on as they stand. See which blocks and entries your code reads.\n"
            "Block MODSEL\n    1   1              # universal soft terms at the unification scale\n"
            "Block SMINPUTS\n    3   1.1800000E-01  # alpha_s(MZ), MSbar\n    5   4.1800000E+00  # mb(mb), MSbar, GeV\n"
            "    6   1.7257000E+02  # mt, pole, GeV\nBlock MINPAR\n" + "\n".join([*entries, "    4   sgnmu"]) + "\n")


def _text_card(ranges: Sequence[Range]) -> str:
    return "".join(f"{r.name} {{{{ {r.name} }}}}\n" for r in ranges)


def _xml_card(ranges: Sequence[Range]) -> str:
    return ('<?xml version="1.0"?>\n<lilithinput>\n  <reducedcouplings>\n    <mass>125.09</mass>\n'
            f'    <C to="VV">{{{{ {ranges[0].name} }}}}</C>\n    <C to="ff">{{{{ {ranges[-1].name} }}}}</C>\n'
            "    <precision>BEST-QCD</precision>\n  </reducedcouplings>\n</lilithinput>\n")


_CARDS: dict[str, Callable[[Sequence[Range]], str]] = {"slha": _slha_card, "text": _text_card, "xml": _xml_card}
