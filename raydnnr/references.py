"""References: what to cite for a scan, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from raydnnr.plan import Plan

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
}

_METHODS = {"MlsDnnr": ("Hammad:2022wpq", "Goodsell:2023iac")}
_SLHA = ("Skands:2003cj", "Allanach:2008qq")


def bibliography(plan: Plan) -> str:
    """BibTeX entries for the search method, the formats and the codes that a plan uses, each once.

    What a tool asks to be cited is its class's ``citations``: keys of `ENTRIES`, or whole entries. Codes behind a
    general tool (``slha``, ``command``, ``python``) are named in a comment: their manuals say what they ask for.
    """
    keys = [*_METHODS.get(type(plan.method).__name__, getattr(plan.method, "citations", ()))]
    keys += [key for tool in plan.tools if hasattr(tool, "required_blocks") for key in _SLHA]
    keys += [key for tool in plan.tools for key in tool.citations]
    unknown = [tool.name for tool in plan.tools if not tool.citations]
    lines = [f"% What the scan {plan.name} used."]
    if unknown:
        lines.append(f"% Cite the codes behind these tools, too, as their manuals ask: {', '.join(unknown)}")
    return "\n".join(lines) + "\n\n" + "\n\n".join(entries(keys)) + "\n"


def entries(keys: Iterable[str]) -> Sequence[str]:
    """Entries in their order, each once; a key that is an entry itself stays.

    >>> [re.match(r"@article{(.*),", entry)[1] for entry in entries(["Porod:2003um", "Porod:2003um"])]
    ['Porod:2003um']
    """
    return [key if re.match(r"\s*@", key) else ENTRIES[key] for key in dict.fromkeys(keys)]
