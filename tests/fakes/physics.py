"""Python physics, good and bad. Parameters x and y, both in [0, 1)."""

import os
import signal
import subprocess
import sys
import time

from raydnnr.errors import InvalidPoint


def disc(point):
    """r: distance from the centre of the unit square; s: sum."""
    return {"r": ((point["x"] - 0.5) ** 2 + (point["y"] - 0.5) ** 2) ** 0.5, "s": point["x"] + point["y"]}


def disc_many(columns):
    """The same for arrays."""
    x, y = columns["x"], columns["y"]
    return {"r": ((x - 0.5) ** 2 + (y - 0.5) ** 2) ** 0.5, "s": x + y}


def guilty(point):
    """Where the bad functions are bad."""
    return 0.2 < point["x"] < 0.3


def exits(point):
    if guilty(point):
        os._exit(7)
    return disc(point)


def kills_itself(point):
    if guilty(point):
        print("about to be killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return disc(point)


def segfaults(point):
    if guilty(point):
        os.kill(os.getpid(), signal.SIGSEGV)
    return disc(point)


def eats_memory(point):
    if guilty(point):
        hoard = [bytearray(1 << 26) for _ in range(1 << 12)]
        return {"r": len(hoard)}
    return disc(point)


def hangs(point):
    if guilty(point):
        wait_for_ever()
    return disc(point)


def wait_for_ever():
    while True:
        time.sleep(60)


def hangs_with_a_child(point):
    """Beside a child that ignores SIGTERM and holds all open files; its process id goes to child.pid."""
    if guilty(point):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            wait_for_ever()
        with open("child.pid", "w") as out:
            out.write(str(child))
        wait_for_ever()
    return disc(point)


def dies_beside_a_child(point):
    """The child lives on and holds the pipes open."""
    if guilty(point):
        if os.fork() == 0:
            wait_for_ever()
        os._exit(7)
    return disc(point)


def prints_a_lot(point):
    for _ in range(1000):
        print("x" * 1000)
    subprocess.run(["echo", "and so does a program it starts"], check=True)
    return disc(point)


def raises(point):
    if guilty(point):
        raise ValueError("no minimum\nof the potential")
    return disc(point)


def leaves(point):
    if guilty(point):
        sys.exit("that is all")
    return disc(point)


def refuses(point):
    if guilty(point):
        raise InvalidPoint("tachyon")
    return disc(point)


def nan(point):
    return {"r": float("nan"), "s": 1.0} if guilty(point) else disc(point)


def wrong_types(point):
    return {"r": "0.5", "s": [1.0, 2.0], "t": 1 + 2j}


def returns_a_tuple(point):
    return 1.0, 2.0


def identity(point):
    """Where it runs and what it sees, as far as numbers go."""
    return {"pid": os.getpid(), "threads": int(os.environ["OMP_NUM_THREADS"]), "files": len(os.listdir())}


def reads_spectrum(point):
    """The first mass in the file an earlier tool has left."""
    with open("output.slha") as spectrum:
        for line in spectrum:
            if line.split()[:1] == ["25"]:
                return {"mh": float(line.split()[1])}
    return {}


def many(function):
    """A vectorised function from one for a point, which is bad where that one is."""
    def run(columns):
        rows = [function(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]
        import numpy as np

        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    return run


disc_rows = many(disc)
exits_many = many(exits)
kills_itself_many = many(kills_itself)
eats_memory_many = many(eats_memory)
hangs_many = many(hangs)
raises_many = many(raises)
refuses_many = many(refuses)


def short_many(columns):
    """Forgets the last point."""
    return {"r": columns["x"][:-1], "s": columns["y"]}
