"""Never ends. Writes its process id to argv[1] first."""

import os
import sys
import time

with open(sys.argv[1], "w") as out:
    out.write(f"{os.getpid()}\n")
while True:
    time.sleep(60)
