"""References: what to cite for a scan, as BibTeX."""

from __future__ import annotations

from raydnnr.plan import Plan

_ENTRIES = {
    "MlsDnnr": """@article{Hammad:2022wpq,
  author = "Hammad, A. and Park, Myeonghun and Ramos, Raymundo and Saha, Pankaj",
  title = "{Exploration of Parameter Spaces Assisted by Machine Learning}",
  eprint = "2207.09959",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}

@article{Goodsell:2023iac,
  author = "Goodsell, Mark D. and Joury, Ari",
  title = "{BSMArt: simple and fast parameter space scans}",
  eprint = "2301.01154",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
    "SlhaCommand": """@article{Skands:2003cj,
  author = "Skands, Peter Z. and others",
  title = "{SUSY Les Houches accord: Interfacing SUSY spectrum calculators, decay packages, and event generators}",
  eprint = "hep-ph/0311123",
  archivePrefix = "arXiv"
}

@article{Allanach:2008qq,
  author = "Allanach, B. C. and others",
  title = "{SUSY Les Houches Accord 2}",
  eprint = "0801.0045",
  archivePrefix = "arXiv",
  primaryClass = "hep-ph"
}""",
}


def bibliography(plan: Plan) -> str:
    """BibTeX entries for the search method and the formats that a plan uses, each once.

    The physics codes of the plan ask for citations of their own: their manuals say which.
    """
    used = [type(plan.method).__name__, *(type(tool).__name__ for tool in plan.tools)]
    entries = [_ENTRIES[name] for name in dict.fromkeys(used) if name in _ENTRIES]
    codes = ", ".join(tool.name for tool in plan.tools)
    return f"% Cite the physics codes too, as their manuals ask: {codes}\n\n" + "\n\n".join(entries) + "\n"
