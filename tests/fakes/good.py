"""A spectrum generator in miniature: MINPAR 1 (m0), 2 (m12), 3 (tanb) in; MASS, DECAY and SPINFO out.

m_h = m0 + tanb / 10. A tachyon (SPINFO 4) where m12 > m0; NaN for the neutralino where tanb > 50.
"""

import sys


def read(path):
    block, values = "", {}
    with open(path) as card:
        for line in card:
            words = line.partition("#")[0].split()
            if words[:1] and words[0].upper() == "BLOCK":
                block = words[1].upper()
            elif len(words) == 2 and block == "MINPAR":
                values[int(words[0])] = float(words[1])
    return values[1], values[2], values[3]


def spectrum(m0, m12, tanb):
    text = "Block SPINFO\n  1  good.py\n  2  1.0\n"
    if m12 > m0:
        return text + "  4  stau tachyon\n"
    neutralino = "NaN" if tanb > 50 else f"{0.4 * m12:.8E}"
    return (text + f"BLOCK MASS  # pole masses\n  25  {m0 + tanb / 10:.8E}  # h0\n  1000022  {neutralino}\n"
            "DECAY 25 4.1D-03\n  5.8E-01  2  5  -5\n")


if __name__ == "__main__":
    with open(sys.argv[2], "w") as out:
        out.write(spectrum(*read(sys.argv[1])))
