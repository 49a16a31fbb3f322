"""Is the electroweak vacuum stable? Tree-level conditions, as functions for Python tools.

Ratios are such that 1 is the border and less is fine, so that ``kind = "upper", mean = 1.0`` makes a likelihood of
them; what is excluded for certain by other minima may still live longer than the universe.
"""

from __future__ import annotations

import math

V = 246.22  # GeV, vacuum expectation value


def thdm(point: dict[str, float]) -> dict[str, float]:
    """A two-Higgs-doublet model with a softly broken Z2 symmetry, from its masses.

    The quartic couplings are those of hep-ph/0207010, appendix D.

    Args:
        point: ``m_h``, ``m_H``, ``m_A``, ``m_Hp`` (GeV), ``sba`` (sin(β - α), β - α from -π/2 to π/2), ``tanb``,
            ``m12sq`` (GeV²).

    Returns:
        ``lambda1`` to ``lambda5``; ``bounded``: the smallest of λ1, λ2, λ3 + √(λ1 λ2) and λ3 + λ4 - abs(λ5) + √(λ1 λ2):
        the potential is bounded from below where it is positive (NaN where λ1 λ2 < 0: it is not);
        ``discriminant``: D of arXiv:1303.5098 over v⁴: no other minimum is deeper where it is positive.
    """
    beta = math.atan(point["tanb"])
    alpha = beta - math.asin(point["sba"])  # cos(β - α) >= 0, as 2HDMC has it
    sa, ca, sb, cb = math.sin(alpha), math.cos(alpha), math.sin(beta), math.cos(beta)
    mh2, mH2, mA2, mHp2 = (point[name] ** 2 for name in ("m_h", "m_H", "m_A", "m_Hp"))
    m12sq, v2 = point["m12sq"], V**2
    l1 = (mH2 * ca**2 + mh2 * sa**2 - m12sq * sb / cb) / (v2 * cb**2)
    l2 = (mH2 * sa**2 + mh2 * ca**2 - m12sq * cb / sb) / (v2 * sb**2)
    l3 = ((mH2 - mh2) * sa * ca + 2 * mHp2 * sb * cb - m12sq) / (v2 * sb * cb)
    l4 = (mA2 - 2 * mHp2) / v2 + m12sq / (v2 * sb * cb)
    l5 = (m12sq - mA2 * sb * cb) / (v2 * sb * cb)
    return {"lambda1": l1, "lambda2": l2, "lambda3": l3, "lambda4": l4, "lambda5": l5,
            "bounded": _bounded(l1, l2, l3, l4, l5), "discriminant": _discriminant(l1, l2, l3 + l4 + l5, m12sq, beta)}


def _bounded(l1: float, l2: float, l3: float, l4: float, l5: float) -> float:
    """The smallest of what must be positive (Deshpande and Ma, Phys. Rev. D 18 (1978) 2574)."""
    if l1 * l2 < 0:
        return math.nan
    root = math.sqrt(l1 * l2)
    return min(l1, l2, l3 + root, l3 + l4 - abs(l5) + root)


def _discriminant(l1: float, l2: float, l345: float, m12sq: float, beta: float) -> float:
    """D = m12² (m11² - k² m22²) (tan β - k), k⁴ = λ1 / λ2, over v⁴; masses by the conditions of the minimum."""
    if l1 * l2 <= 0:
        return math.nan
    sb, cb, tb, k = math.sin(beta), math.cos(beta), math.tan(beta), (l1 / l2) ** 0.25
    m11sq = m12sq * tb - V**2 / 2 * (l1 * cb**2 + l345 * sb**2)
    m22sq = m12sq / tb - V**2 / 2 * (l2 * sb**2 + l345 * cb**2)
    return m12sq * (m11sq - k**2 * m22sq) * (tb - k) / V**4


def mssm(point: dict[str, float]) -> dict[str, float]:
    """Minima of the MSSM where stops, sbottoms or staus have a value: charge and colour would be broken.

    Args:
        point: At the SUSY scale, GeV or GeV²: ``A_t``, ``A_b``, ``A_tau``, ``mu``, ``m_Hd_sq``, ``m_Hu_sq``, ``m_Q3``,
            ``m_U3``, ``m_D3``, ``m_L3``, ``m_E3``.

    Returns:
        ``ccb_t``, ``ccb_b``, ``ccb_tau``: A² over 3 (m_H² + μ² + m_Q² + m_U²), along the directions where the D terms
        vanish (Frère, Jones and Raby, Nucl. Phys. B 222 (1983) 11; hep-ph/9507294): a deeper minimum is there above 1.
        ``metastable_t``: (A_t² + 3 μ²) over 7.5 (m_Q² + m_U²): above 1, our vacuum decays too fast (hep-ph/9602414).
    """
    mu2, hd, hu = point["mu"] ** 2, point["m_Hd_sq"], point["m_Hu_sq"]
    squares = {name: point[f"m_{name}"] ** 2 for name in ("Q3", "U3", "D3", "L3", "E3")}
    found = {}
    for name, higgs, left, right in (("t", hu, "Q3", "U3"), ("b", hd, "Q3", "D3"), ("tau", hd, "L3", "E3")):
        room = 3 * (higgs + mu2 + squares[left] + squares[right])
        found[f"ccb_{name}"] = point[f"A_{name}"] ** 2 / room if room > 0 else math.inf
    stops = 7.5 * (squares["Q3"] + squares["U3"])
    return {**found, "metastable_t": (point["A_t"] ** 2 + 3 * mu2) / stops if stops > 0 else math.inf}
