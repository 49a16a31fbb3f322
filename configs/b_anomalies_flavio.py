"""Rare b -> s mu mu decays as functions of Wilson coefficients, computed by flavio (arXiv:1810.08132).

The scan calls `observables` for one point at a time. flavio takes seconds to import; a scan loads this module once in
each of its worker processes. Its Standard Model parameters stay at their central values: the spread they cause is in
the sigmas of ``b_anomalies_flavio.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping

import flavio
from wilson import Wilson

SCALE = 4.8  # GeV: where the coefficients are given

# Name of the observable in the scan, flavio's name, and the bin in q^2 (GeV^2) where there is one.
PREDICTIONS = {
    "br_bs_mumu": ("BR(Bs->mumu)",),
    "p5p_low": ("<P5p>(B0->K*mumu)", 2.5, 4.0),
    "p5p_high": ("<P5p>(B0->K*mumu)", 4.0, 6.0),
    "r_k": ("<Rmue>(B+->Kll)", 1.1, 6.0),
    "r_kstar": ("<Rmue>(B0->K*ll)", 1.1, 6.0),
    "dbr_k_low": ("<dBR/dq2>(B+->Kmumu)", 1.1, 6.0),
    "dbr_k_high": ("<dBR/dq2>(B+->Kmumu)", 15.0, 22.0),
    "dbr_kstar_low": ("<dBR/dq2>(B0->K*mumu)", 1.1, 6.0),
    "dbr_kstar_high": ("<dBR/dq2>(B0->K*mumu)", 15.0, 19.0),
    "dbr_phi_low": ("<dBR/dq2>(Bs->phimumu)", 1.1, 6.0),
}


def observables(point: Mapping[str, float]) -> dict[str, float]:
    """Predictions for one parameter point.

    Args:
        point: New-physics parts of the real Wilson coefficients of the weak effective theory at 4.8 GeV, in flavio's
            normalisation: ``C9_all`` for muons and electrons alike; ``C9_mu``, ``C10_mu`` and the right-handed
            ``C9p_mu``, ``C10p_mu`` for muons only, on top of it.

    Returns:
        Branching ratios, P5', R_K and R_K* by the names in `PREDICTIONS`; ``dbr_*`` in 1/GeV^2.
    """
    coefficients = {
        "C9_bsmumu": point["C9_all"] + point["C9_mu"],
        "C9_bsee": point["C9_all"],
        "C10_bsmumu": point["C10_mu"],
        "C9p_bsmumu": point["C9p_mu"],
        "C10p_bsmumu": point["C10p_mu"],
    }
    physics = Wilson(coefficients, scale=SCALE, eft="WET", basis="flavio")
    return {name: float(flavio.np_prediction(what, physics, *q2)) for name, (what, *q2) in PREDICTIONS.items()}
