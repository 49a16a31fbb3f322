"""Writes 100 GiB into its output, or (argv[1] = "stdout") prints them; "die" as last word: dies of the signal."""

import signal
import sys

if sys.argv[-1] == "die":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
out = sys.stdout.buffer if sys.argv[1] == "stdout" else open(sys.argv[2], "wb")  # noqa: SIM115
for _ in range(100 << 10):
    out.write(b"1.0 2.0\n" * (1 << 17))
    out.flush()
