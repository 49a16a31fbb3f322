#!/usr/bin/env python3
"""Higgs bosons of the MSSM at tree level, with the largest one-loop term: a small program for ewsb_fit.toml.

Reads ``name value`` lines from the file it is given, in GeV and GeV²: ``m_Hd_sq``, ``m_Hu_sq``, ``tanb``, ``mu``,
``m_S`` (stops). Prints JSON: ``mZ_sq``, which the minimum of the potential wants, and masses, NaN for a tachyon
(hep-ph/9709356, section 7).
"""

import json
import math
import sys

M_W, M_T, V = 80.4, 165.0, 246.2


def root(square):
    return math.sqrt(square) if square > 0 else math.nan


with open(sys.argv[1]) as card:
    p = {name: float(value) for name, value in (line.split() for line in card)}
t2 = p["tanb"] ** 2
mz_sq = 2 * ((p["m_Hd_sq"] - p["m_Hu_sq"] * t2) / (t2 - 1) - p["mu"] ** 2)
ma_sq = p["m_Hd_sq"] + p["m_Hu_sq"] + 2 * p["mu"] ** 2
cos_2b_sq = ((1 - t2) / (1 + t2)) ** 2
loop = 3 * M_T**4 / (2 * math.pi**2 * V**2) * math.log(max(p["m_S"] / M_T, 1) ** 2)
split = root((ma_sq + mz_sq) ** 2 - 4 * ma_sq * mz_sq * cos_2b_sq)
print(json.dumps({"mZ_sq": mz_sq, "masses": {
    "h": root((ma_sq + mz_sq - split) / 2 + loop), "A": root(ma_sq), "H+": root(ma_sq + M_W**2)}}))
