"""Writes a good spectrum, prints argv[4] and exits with the code argv[3]."""

import sys

from good import read, spectrum

with open(sys.argv[2], "w") as out:
    out.write(spectrum(*read(sys.argv[1])))
print(*sys.argv[4:])
sys.exit(int(sys.argv[3]))
