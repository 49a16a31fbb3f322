"""Ignores SIGTERM and never ends. Writes its process id to argv[1] first."""

import os
import signal
import sys
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "w") as out:
    out.write(f"{os.getpid()}\n")
while True:
    time.sleep(60)
