"""Limits on the constrained MSSM, for cmssm_chain.toml. They are rough: replace them by likelihoods of your own."""

from __future__ import annotations

import math


def limits(point: dict[str, float]) -> dict[str, float]:
    """How far a point is from two experimental limits.

    ``over_lz``: log10 of the spin-independent cross section over the limit of LZ (arXiv:2410.17036), which is 2.2e-12
    pb at 40 GeV, 2.9e-10 pb at 10 TeV (HEPData 155182, version 2, table 1) and roughly proportional to the mass in
    between, from 75 GeV on. A neutralino that is less than all dark matter scatters as much less often.

    ``beyond_lhc``: GeV by which gluino and squarks are heavier than ATLAS excludes for a light neutralino, 2.30 and
    1.85 TeV (arXiv:2010.14293); of the two, the smaller one.
    """
    lz_pb = 2.2e-12 * max(1.0, abs(point["m_chi10"]) / 75)
    share = min(1.0, point["omega"] / 0.12)
    return {
        "over_lz": math.log10(share * point["sigma_si"] / lz_pb),
        "beyond_lhc": min(point["m_gluino"] - 2300, point["m_squark"] - 1850),
    }
