"""References: what to cite for a scan, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from raydnnr.likelihoods import Cfunction, Likelihood, Off
from raydnnr.plan import Method, Plan
from raydnnr.search.hybrid import Hybrid
from raydnnr.search.methods import KINDS as METHODS
from raydnnr.search.mls_dnnr import MlsDnnr

ENTRIES = {
    "Hammad:2022wpq": """@article{Hammad:2022wpq,
  author = "Hammad, A. and Park, Myeonghun and Ramos, Raymundo and Saha, Pankaj",
  title = "{Exploration of Parameter Spaces Assisted by Machine Learning}",
  eprint = "2207.09959",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Goodsell:2023iac": """@article{Goodsell:2023iac,
  author = "Goodsell, Mark D. and Joury, Ari",
  title = "{BSMArt: simple and fast parameter space scans}",
  eprint = "2301.01154",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Skands:2003cj": """@article{Skands:2003cj,
  author = "Skands, Peter Z. and others",
  title = "{SUSY Les Houches accord: Interfacing SUSY spectrum calculators, decay packages, and event generators}",
  eprint = "hep-ph/0311123",
  archivePrefix = "arXiv"
}""",
    "Allanach:2008qq": """@article{Allanach:2008qq,
  author = "Allanach, B. C. and others",
  title = "{SUSY Les Houches Accord 2}",
  eprint = "0801.0045",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Porod:2003um": """@article{Porod:2003um,
  author = "Porod, Werner",
  title = "{SPheno, a program for calculating supersymmetric spectra, SUSY particle decays and SUSY particle
    production at e+ e- colliders}",
  eprint = "hep-ph/0301101",
  archivePrefix = "arXiv"
}""",
    "Porod:2011nf": """@article{Porod:2011nf,
  author = "Porod, W. and Staub, F.",
  title = "{SPheno 3.1: Extensions including flavour, CP-phases and models beyond the MSSM}",
  eprint = "1104.1573",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Allanach:2001kg": """@article{Allanach:2001kg,
  author = "Allanach, B. C.",
  title = "{SOFTSUSY: a program for calculating supersymmetric spectra}",
  eprint = "hep-ph/0104145",
  archivePrefix = "arXiv"
}""",
    "Athron:2015rva": """@article{Athron:2015rva,
  author = "Athron, Peter and others",
  title = "{GM2Calc: Precise MSSM prediction for (g-2) of the muon}",
  eprint = "1510.08071",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Athron:2021evk": """@article{Athron:2021evk,
  author = "Athron, Peter and others",
  title = "{Two-loop prediction of the anomalous magnetic moment of the muon in the Two-Higgs Doublet Model
    with GM2Calc 2}",
  eprint = "2110.13238",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Mahmoudi:2007vz": """@article{Mahmoudi:2007vz,
  author = "Mahmoudi, F.",
  title = "{SuperIso: A Program for calculating the isospin asymmetry of B -> K* gamma in the MSSM}",
  eprint = "0710.2067",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Mahmoudi:2008tp": """@article{Mahmoudi:2008tp,
  author = "Mahmoudi, F.",
  title = "{SuperIso v2.3: A Program for calculating flavor physics observables in Supersymmetry}",
  eprint = "0808.3144",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Belanger:2008sj": """@article{Belanger:2008sj,
  author = "Belanger, G. and Boudjema, F. and Pukhov, A. and Semenov, A.",
  title = "{Dark matter direct detection rate in a generic model with micrOMEGAs 2.2}",
  eprint = "0803.2360",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Alguero:2023zol": """@article{Alguero:2023zol,
  author = "Alguero, G. and others",
  title = "{micrOMEGAs 6.0: N-component dark matter}",
  eprint = "2312.14894",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Straub:2018kue": """@article{Straub:2018kue,
  author = "Straub, David M.",
  title = "{flavio: a Python package for flavour and precision phenomenology in the Standard Model and beyond}",
  eprint = "1810.08132",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Aebischer:2018bkb": """@article{Aebischer:2018bkb,
  author = "Aebischer, Jason and Kumar, Jacky and Straub, David M.",
  title = "{Wilson: a Python package for the running and matching of Wilson coefficients above and below the
    electroweak scale}",
  eprint = "1804.05033",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Bernon:2015hsa": """@article{Bernon:2015hsa,
  author = "Bernon, Jérémy and Dumont, Béranger",
  title = "{Lilith: a tool for constraining new physics from Higgs measurements}",
  eprint = "1502.04138",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Athron:2014yba": """@article{Athron:2014yba,
  author = "Athron, Peter and Park, Jae-hyeon and Stöckinger, Dominik and Voigt, Alexander",
  title = "{FlexibleSUSY -- A spectrum generator generator for supersymmetric models}",
  eprint = "1406.2319",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Athron:2017fvs": """@article{Athron:2017fvs,
  author = "Athron, Peter and Bach, Markus and Harries, Dylan and Kwasnitza, Thomas and Park, Jae-hyeon and
    Stöckinger, Dominik and Voigt, Alexander and Ziebell, Jobst",
  title = "{FlexibleSUSY 2.0: Extensions to investigate the phenomenology of SUSY and non-SUSY models}",
  eprint = "1710.03760",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Staub:2013tta": """@article{Staub:2013tta,
  author = "Staub, Florian",
  title = "{SARAH 4: A tool for (not only SUSY) model builders}",
  eprint = "1309.7223",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Djouadi:2006bz": """@article{Djouadi:2006bz,
  author = "Djouadi, A. and Mühlleitner, M. M. and Spira, M.",
  title = "{Decays of supersymmetric particles: The Program SUSY-HIT (SUspect-SdecaY-Hdecay-InTerface)}",
  eprint = "hep-ph/0609292",
  archivePrefix = "arXiv"
}""",
    "Muhlleitner:2003vg": """@article{Muhlleitner:2003vg,
  author = "Mühlleitner, M. and Djouadi, A. and Mambrini, Y.",
  title = "{SDECAY: A Fortran code for the decays of the supersymmetric particles in the MSSM}",
  eprint = "hep-ph/0311167",
  archivePrefix = "arXiv"
}""",
    "Djouadi:1997yw": """@article{Djouadi:1997yw,
  author = "Djouadi, A. and Kalinowski, J. and Spira, M.",
  title = "{HDECAY: A Program for Higgs boson decays in the standard model and its supersymmetric extension}",
  eprint = "hep-ph/9704448",
  archivePrefix = "arXiv"
}""",
    "Kraml:2013mwa": """@article{Kraml:2013mwa,
  author = "Kraml, Sabine and Kulkarni, Suchita and Laa, Ursula and Lessa, Andre and Magerl, Wolfgang and
    Proschofsky-Spindler, Doris and Waltenberger, Wolfgang",
  title = "{SModelS: a tool for interpreting simplified-model results from the LHC and its application to
    supersymmetry}",
  eprint = "1312.4175",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Altakach:2024jwk": """@article{Altakach:2024jwk,
  author = "Altakach, Mohammad Mahdi and Kraml, Sabine and Lessa, Andre and Narasimha, Sahana and Pascal, Timothée
    and Ramos, Camila and Villamizar, Yoxara and Waltenberger, Wolfgang",
  title = "{SModelS v3: Going Beyond Z2 Topologies}",
  eprint = "2409.12942",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Eriksson:2009ws": """@article{Eriksson:2009ws,
  author = "Eriksson, David and Rathsman, Johan and Stål, Oscar",
  title = "{2HDMC: Two-Higgs-Doublet Model Calculator Physics and Manual}",
  eprint = "0902.0851",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Ellwanger:2004xm": """@article{Ellwanger:2004xm,
  author = "Ellwanger, Ulrich and Gunion, John F. and Hugonie, Cyril",
  title = "{NMHDECAY: A Fortran code for the Higgs masses, couplings and decay widths in the NMSSM}",
  eprint = "hep-ph/0406215",
  archivePrefix = "arXiv"
}""",
    "Ellwanger:2005dv": """@article{Ellwanger:2005dv,
  author = "Ellwanger, Ulrich and Hugonie, Cyril",
  title = "{NMHDECAY 2.0: An Updated program for sparticle masses, Higgs masses, couplings and decay widths in the
    NMSSM}",
  eprint = "hep-ph/0508022",
  archivePrefix = "arXiv"
}""",
    "Ellwanger:2006rn": """@article{Ellwanger:2006rn,
  author = "Ellwanger, Ulrich and Hugonie, Cyril",
  title = "{NMSPEC: A Fortran code for the sparticle and Higgs masses in the NMSSM with GUT scale boundary conditions}",
  eprint = "hep-ph/0612134",
  archivePrefix = "arXiv"
}""",
    "Bahl:2022igd": """@article{Bahl:2022igd,
  author = "Bahl, Henning and Biekötter, Thomas and Heinemeyer, Sven and Li, Cheng and Paasch, Steven and
    Weiglein, Georg and Wittbrodt, Jonas",
  title = "{HiggsTools: BSM scalar phenomenology with new versions of HiggsBounds and HiggsSignals}",
  eprint = "2210.09332",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Bechtle:2020pkv": """@article{Bechtle:2020pkv,
  author = "Bechtle, Philip and Dercks, Daniel and Heinemeyer, Sven and Klingl, Tobias and Stefaniak, Tim and
    Weiglein, Georg and Wittbrodt, Jonas",
  title = "{HiggsBounds-5: Testing Higgs Sectors in the LHC 13 TeV Era}",
  eprint = "2006.06007",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Bechtle:2020uwn": """@article{Bechtle:2020uwn,
  author = "Bechtle, Philip and Heinemeyer, Sven and Klingl, Tobias and Stefaniak, Tim and Weiglein, Georg and
    Wittbrodt, Jonas",
  title = "{HiggsSignals-2: Probing new physics with precision Higgs measurements in the LHC 13 TeV era}",
  eprint = "2012.09197",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Bahl:2023eau": """@article{Bahl:2023eau,
  author = "Bahl, Henning and Braathen, Johannes and Gabelmann, Martin and Weiglein, Georg",
  title = "{anyH3: precise predictions for the trilinear Higgs coupling in the Standard Model and beyond}",
  eprint = "2305.03015",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Kraml:2019sis": """@article{Kraml:2019sis,
  author = "Kraml, Sabine and Loc, Tran Quang and Nhung, Dao Thi and Ninh, Le Duc",
  title = "{Constraining new physics from Higgs measurements with Lilith: update to LHC Run 2 results}",
  eprint = "1908.03952",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "AbreudeSouza:2022maq": """@article{AbreudeSouza:2022maq,
  author = "de Souza, Fernando Abreu and Crispim Romão, Miguel and Castro, Nuno Filipe and Nikjoo, Mehraveh and
    Porod, Werner",
  title = "{Exploring parameter spaces with artificial intelligence and machine learning black-box optimization
    algorithms}",
  eprint = "2206.09223",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Rasmussen:2006": """@book{Rasmussen:2006,
  author = "Rasmussen, Carl Edward and Williams, Christopher K. I.",
  title = "{Gaussian Processes for Machine Learning}",
  publisher = "MIT Press",
  year = "2006"
}""",
    "Duvenaud:2011": """@article{Duvenaud:2011,
  author = "Duvenaud, David and Nickisch, Hannes and Rasmussen, Carl Edward",
  title = "{Additive Gaussian Processes}",
  eprint = "1112.4394",
  archivePrefix = "arXiv"
}""",
    "Snoek:2014": """@article{Snoek:2014,
  author = "Snoek, Jasper and Swersky, Kevin and Zemel, Richard S. and Adams, Ryan P.",
  title = "{Input Warping for Bayesian Optimization of Non-stationary Functions}",
  eprint = "1402.0929",
  archivePrefix = "arXiv"
}""",
    "Hvarfner:2024": """@article{Hvarfner:2024,
  author = "Hvarfner, Carl and Hellsten, Erik Orm and Nardi, Luigi",
  title = "{Vanilla Bayesian Optimization Performs Great in High Dimensions}",
  eprint = "2402.02229",
  archivePrefix = "arXiv"
}""",
    "Lakshminarayanan:2016": """@article{Lakshminarayanan:2016,
  author = "Lakshminarayanan, Balaji and Pritzel, Alexander and Blundell, Charles",
  title = "{Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles}",
  eprint = "1612.01474",
  archivePrefix = "arXiv"
}""",
    "Loshchilov:2017": """@article{Loshchilov:2017,
  author = "Loshchilov, Ilya and Hutter, Frank",
  title = "{Decoupled Weight Decay Regularization}",
  eprint = "1711.05101",
  archivePrefix = "arXiv"
}""",
    "Paszke:2019": """@article{Paszke:2019,
  author = "Paszke, Adam and others",
  title = "{PyTorch: An Imperative Style, High-Performance Deep Learning Library}",
  eprint = "1912.01703",
  archivePrefix = "arXiv"
}""",
    "Hansen:2016": """@article{Hansen:2016,
  author = "Hansen, Nikolaus",
  title = "{The CMA Evolution Strategy: A Tutorial}",
  eprint = "1604.00772",
  archivePrefix = "arXiv"
}""",
    "Storn:1997": """@article{Storn:1997,
  author = "Storn, Rainer and Price, Kenneth",
  title = "{Differential Evolution -- A Simple and Efficient Heuristic for Global Optimization over Continuous Spaces}",
  journal = "J. Global Optim.",
  volume = "11",
  pages = "341--359",
  year = "1997"
}""",
    "terBraak:2006": """@article{terBraak:2006,
  author = "ter Braak, Cajo J. F.",
  title = "{A Markov Chain Monte Carlo version of the genetic algorithm Differential Evolution: easy Bayesian computing
    for real parameter spaces}",
  journal = "Stat. Comput.",
  volume = "16",
  pages = "239--249",
  year = "2006"
}""",
    "Kandasamy:2017": """@article{Kandasamy:2017,
  author = "Kandasamy, Kirthevasan and Krishnamurthy, Akshay and Schneider, Jeff and Poczos, Barnabas",
  title = "{Asynchronous Parallel Bayesian Optimisation via Thompson Sampling}",
  eprint = "1705.09236",
  archivePrefix = "arXiv"
}""",
    "Garivier:2008": """@article{Garivier:2008,
  author = "Garivier, Aurélien and Moulines, Eric",
  title = "{On Upper-Confidence Bound Policies for Non-Stationary Bandit Problems}",
  eprint = "0805.3415",
  archivePrefix = "arXiv"
}""",
    "Adams:1993zs": """@article{Adams:1993zs,
  author = "Adams, Fred C.",
  title = "{General solutions for tunneling of scalar fields with quartic potentials in four dimensions}",
  eprint = "hep-ph/9302321",
  archivePrefix = "arXiv"
}""",
    "Hollik:2018wrr": """@article{Hollik:2018wrr,
  author = "Hollik, Wolfgang Gregor and Weiglein, Georg and Wittbrodt, Jonas",
  title = "{Impact of Vacuum Stability Constraints on the Phenomenology of Supersymmetric Models}",
  eprint = "1812.04644",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "Virtanen:2019joe": """@article{Virtanen:2019joe,
  author = "Virtanen, Pauli and others",
  title = "{SciPy 1.0--Fundamental Algorithms for Scientific Computing in Python}",
  eprint = "1907.10121",
  archivePrefix = "arXiv",
  primaryClass = "cs.MS"
}""",
    "Brent:1973": """@book{Brent:1973,
  author = "Brent, Richard P.",
  title = "{Algorithms for Minimization without Derivatives}",
  publisher = "Prentice-Hall",
  year = "1973"
}""",
}

_ORIGINAL = ("Hammad:2022wpq", "Goodsell:2023iac")  # of the scan that learns: the idea, and its likelihoods
_NETWORKS = ("Loshchilov:2017", "Paszke:2019")
_PROCESSES = ("Rasmussen:2006", "Duvenaud:2011", "Snoek:2014", "Hvarfner:2024")
_ENSEMBLE = ("Lakshminarayanan:2016", *_NETWORKS)
_SURROGATES = {"gaussian_process": _PROCESSES, "ensemble": _ENSEMBLE, "mixed": (*_PROCESSES, *_ENSEMBLE)}
_SOURCES = {"local": ("Storn:1997",), "evolution": ("Hansen:2016",), "frontier": ("Kandasamy:2017",),
            "region": ("terBraak:2006", "Kandasamy:2017")}
_SLHA = ("Skands:2003cj", "Allanach:2008qq")


def bibliography(plan: Plan) -> str:
    """BibTeX entries for the search method with its settings, the likelihoods, the formats and the codes of a plan.

    Each stands once, under the first heading that it belongs to. What a tool asks to be cited is its class's
    ``citations``: keys of `ENTRIES`, or whole entries. Codes behind a general tool (``slha``, ``command``, ``python``)
    are named in a comment: their manuals say what they ask for.
    """
    sections = {
        f"The search, {_word(plan.method)}": _of_method(plan.method),
        "Its likelihoods": [key for o in plan.observables for key in _of_likelihood(o.likelihood)],
        "Formats of files": [key for tool in plan.tools if hasattr(tool, "required_blocks") for key in _SLHA],
        "Codes": [key for tool in plan.tools for key in tool.citations],
    }
    unknown = [tool.name for tool in plan.tools if not tool.citations]
    lines, seen = [f"% What the scan {plan.name} used."], set[str]()
    if unknown:
        lines.append(f"% Cite the codes behind these tools, too, as their manuals ask: {', '.join(unknown)}")
    for heading, keys in sections.items():
        if new := [entry for entry in entries(keys) if entry not in seen]:
            lines += ["", f"% {heading}", "", "\n\n".join(new)]
            seen.update(new)
    return "\n".join(lines) + "\n"


def _word(method: Method) -> str:
    """What a method is called in ``[search]``, or the name of a class of the user's own."""
    return next((word for word, kind in METHODS.items() if type(method) is kind), type(method).__name__)


def _of_method(method: Method) -> Sequence[str]:
    """What its settings make use of; a method of the user's own says it itself, in ``citations``."""
    if isinstance(method, Hybrid):
        sources = [key for word in method.sources for key in _SOURCES.get(word, ())]
        return [*_ORIGINAL, "Garivier:2008", *_SURROGATES[method.surrogate], *sources]
    return (*_ORIGINAL, *_NETWORKS) if isinstance(method, MlsDnnr) else getattr(method, "citations", ())


def _of_likelihood(likelihood: Likelihood) -> Sequence[str]:
    """The kinds and the cap of losses are BSMArt's, the interval has a paper of its own."""
    own = ("AbreudeSouza:2022maq",) if isinstance(likelihood, Cfunction) else ()
    return () if isinstance(likelihood, Off) else ("Goodsell:2023iac", *own)


def entries(keys: Iterable[str]) -> Sequence[str]:
    r"""Entries in their order, each once; a key that is an entry itself stays.

    >>> [re.match(r"@\w+{(.*),", entry)[1] for entry in entries(["Porod:2003um", "Porod:2003um"])]
    ['Porod:2003um']
    """
    return [key if re.match(r"\s*@", key) else ENTRIES[key] for key in dict.fromkeys(keys)]
