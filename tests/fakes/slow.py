"""Takes argv[3] seconds, then writes a good spectrum."""

import sys
import time

from good import read, spectrum

time.sleep(float(sys.argv[3]))
with open(sys.argv[2], "w") as out:
    out.write(spectrum(*read(sys.argv[1])))
