"""Dies of a segmentation fault after it has written a whole spectrum."""

import os
import signal
import sys

from good import read, spectrum

print("initialising")
print("accessing the 7th sneutrino", flush=True)
with open(sys.argv[2], "w") as out:
    out.write(spectrum(*read(sys.argv[1])))
os.kill(os.getpid(), signal.SIGSEGV)
