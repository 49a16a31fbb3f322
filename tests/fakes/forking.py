"""Starts a child that ignores SIGTERM and never ends, writes its process id to argv[1]; waits for it, or not.

argv[2]: "wait", "leave" (exit with 0 at once), or "escape" (the child leaves the process group, then leave).
"""

import os
import signal
import sys
import time

read_end, write_end = os.pipe()
child = os.fork()
if child == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[2] == "escape":
        os.setsid()
    os.write(write_end, b"ready")
    while True:
        time.sleep(60)
os.read(read_end, 5)
with open(sys.argv[1] + ".part", "w") as out:
    out.write(f"{child}\n")
os.rename(sys.argv[1] + ".part", sys.argv[1])
if sys.argv[2] == "wait":
    os.waitpid(child, 0)
