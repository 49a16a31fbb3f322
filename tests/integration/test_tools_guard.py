"""The guard: an evaluator that dies, by SIGKILL too, leaves no process and no file."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from raydnnr.errors import ConfigError
from raydnnr.tools.guard import MARK, finish
from raydnnr.tools.slot import ScratchRoot, Slot, sweep

FAKES = Path(__file__).parents[1] / "fakes"


def marked(folder: Path) -> list[int]:
    """Living processes that were started in a scratch directory below ``folder``."""
    mark, found = f"{MARK}={folder}/".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if mark in (entry / "environ").read_bytes() and state not in "ZX":
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def guards(owner: int) -> list[int]:
    """Processes that listen to a pipe of this one: they are nobody's children, and hold nothing of the folder."""
    ours = pipes(owner)
    return [int(entry.name) for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and int(entry.name) != owner and ours & pipes(int(entry.name), only="0")]


def pipes(pid: int, only: str = "*") -> set[str]:
    found = set()
    for number in Path(f"/proc/{pid}/fd").glob(only):
        with contextlib.suppress(OSError):
            found.add(os.readlink(number))
    return {name for name in found if name.startswith("pipe:")}


def wait_until(what, timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def start_driver(folder: Path, body: str) -> subprocess.Popen[str]:
    script = textwrap.dedent(f"""
        import sys, threading, time
        from raydnnr.tools import process
        from raydnnr.tools.slot import ScratchRoot, Slot
        root = ScratchRoot.create({str(folder)!r})
        slots = [Slot(k, root) for k in range(4)]
        def run(slot, *argv):
            return process.run(argv, cwd=slot.scratch, env=process.environment(slot.mark), groups=slot, timeout_s=60)
        def fake(slot, name, *words):
            return run(slot, sys.executable, "-I", "-S", {str(FAKES)!r} + "/" + name, *words)
        print("ready", flush=True)
    """) + textwrap.dedent(body)
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "ready\n"
    return driver


HANGERS = """
    words = [("hanging.py", "pid"), ("stubborn.py", "pid"), ("forking.py", "pid", "wait"),
             ("forking.py", "pid", "leave")]
    for slot, some in zip(slots, words):
        threading.Thread(target=fake, args=(slot, *some)).start()
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_evaluator_that_is_killed_leaves_nothing(tmp_path, number):
    driver = start_driver(tmp_path, HANGERS)
    assert wait_until(lambda: len(marked(tmp_path)) >= 4)
    driver.send_signal(number)
    driver.wait()

    assert wait_until(lambda: not marked(tmp_path))
    assert wait_until(lambda: not any(tmp_path.iterdir()))


def test_at_whatever_moment_it_is_killed(tmp_path):
    """Programs start all the time; some are half started when the evaluator dies."""
    body = """
        def serve(slot):
            while True:
                fake(slot, "forking.py", "pid", "leave")
        for slot in slots:
            threading.Thread(target=serve, args=(slot,), daemon=True).start()
        time.sleep(60)
    """
    rng = random.Random(1)
    for _ in range(8):
        driver = start_driver(tmp_path, body)
        time.sleep(rng.uniform(0.02, 0.25))
        driver.kill()
        driver.wait()

        assert wait_until(lambda: not any(tmp_path.iterdir()))
        assert marked(tmp_path) == []


def test_a_process_that_the_guard_was_not_told_of_is_found_by_its_mark(tmp_path):
    """The evaluator died between the start of a program and the line to the guard."""
    driver = start_driver(tmp_path, """
        import subprocess
        subprocess.Popen(["sleep", "60"], env={"PATH": "/bin:/usr/bin", **slots[0].mark}, start_new_session=True)
        time.sleep(60)
    """)
    assert wait_until(lambda: len(marked(tmp_path)) == 1)
    driver.kill()
    driver.wait()
    assert wait_until(lambda: not marked(tmp_path))


def test_processes_that_are_not_ours_end_with_us_if_they_are_still_the_same(tmp_path):
    """As the servers of Ray, which Ray leaves behind when its driver is killed."""
    servers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    try:
        driver = start_driver(tmp_path, f"""
            root.guard.add_process({servers[0].pid})
            print("told", flush=True)
            time.sleep(60)
        """)
        assert driver.stdout.readline() == "told\n"
        driver.kill()
        driver.wait()
        assert servers[0].wait(10) == -signal.SIGTERM
        finish(set(), set(), {servers[1].pid: b"born at another time"})
        assert servers[1].poll() is None
    finally:
        for server in servers:
            server.kill()
            server.wait()


def test_a_guard_that_is_killed_is_replaced(tmp_path):
    driver = start_driver(tmp_path, """
        threading.Thread(target=fake, args=(slots[0], "stubborn.py", "pid")).start()
        while True:
            run(slots[1], "/bin/true")
            time.sleep(0.05)
    """)
    assert wait_until(lambda: marked(tmp_path) and guards(driver.pid))
    first = set(guards(driver.pid))
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: set(guards(driver.pid)) - first)
    driver.kill()
    driver.wait()

    assert wait_until(lambda: not marked(tmp_path))
    assert wait_until(lambda: not any(tmp_path.iterdir()))


def test_without_a_guard_the_next_start_sweeps(tmp_path):
    driver = start_driver(tmp_path, HANGERS)
    assert wait_until(lambda: len(marked(tmp_path)) >= 4)
    for pid in guards(driver.pid):
        os.kill(pid, signal.SIGKILL)
    driver.kill()
    driver.wait()
    left = list(tmp_path.iterdir())
    assert len(left) == 1 and marked(tmp_path)

    root = ScratchRoot.create(str(tmp_path))
    assert list(tmp_path.iterdir()) == [root.path]
    assert wait_until(lambda: not marked(tmp_path))
    root.close()


def test_a_guard_ends_with_its_root_and_is_small(tmp_path):
    before = set(guards(os.getpid()))
    root = ScratchRoot.create(str(tmp_path))
    (guard,) = set(guards(os.getpid())) - before
    rss_kib = next(int(line.split()[1]) for line in Path(f"/proc/{guard}/status").read_text().splitlines()
                   if line.startswith("VmRSS"))
    assert rss_kib < 12 << 10
    assert int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()
    root.close()
    assert wait_until(lambda: not Path(f"/proc/{guard}").exists())


def test_roots_are_private_and_two_of_one_process_do_not_meet(tmp_path):
    first, second = ScratchRoot.create(str(tmp_path)), ScratchRoot.create(str(tmp_path))
    assert first.path != second.path
    assert first.path.stat().st_mode & 0o777 == 0o700
    assert sweep(tmp_path) == []
    for root in (first, second):
        slot = Slot(0, root)
        (slot.scratch / "file").write_text("")
        root.close()
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cluster.scratch: .*nowhere"):
        ScratchRoot.create(str(tmp_path / "nowhere"))
