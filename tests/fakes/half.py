"""Stops writing in the middle of the Higgs mass, and exits with 0."""

import sys

from good import read, spectrum

text = spectrum(*read(sys.argv[1]))
with open(sys.argv[2], "w") as out:
    out.write(text[: text.index("25  ") + 8])
