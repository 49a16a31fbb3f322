"""Running programs that misbehave: they end, all of them, and nothing of theirs stays."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raydnnr.tools import process
from raydnnr.tools.process import Completed, Limits
from raydnnr.tools.slot import ScratchRoot, Slot

FAKES = Path(__file__).parents[1] / "fakes"
PYTHON = [sys.executable, "-I", "-S"]


@pytest.fixture
def root(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    yield root
    root.close()


@pytest.fixture
def slot(root):
    slot = Slot(0, root)
    yield slot
    slot.close()


def run(slot: Slot, *argv: str, timeout_s: float = 30.0, **settings: object) -> Completed:
    return process.run(argv, cwd=slot.scratch, env=process.environment(slot.mark), groups=slot, timeout_s=timeout_s,
                       **settings)


def fake(slot: Slot, name: str, *words: str, **settings: object) -> Completed:
    return run(slot, *PYTHON, str(FAKES / name), *words, **settings)


def is_running(pid: int) -> bool:
    """Alive, and no zombie (an orphan's zombie is for init to reap)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(what, timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def zombies() -> list[str]:
    """Dead children of ours that nobody has reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z" and int(parent) == os.getpid():
                found.append(entry.name)
    return found


def test_how_a_program_ended(slot):
    assert (run(slot, "/bin/true").exit_code, run(slot, "/bin/false").exit_code) == (0, 1)
    killed = run(slot, "/bin/sh", "-c", "kill -9 $$")
    assert (killed.exit_code, killed.signal, killed.timed_out, killed.how) == (None, 9, False, "signal 9 (SIGKILL)")
    with pytest.raises(FileNotFoundError):
        run(slot, "/no/such/program")


def test_words_are_words_not_shell(slot):
    out = slot.scratch / "out"
    run(slot, "/bin/echo", "$HOME;", "a  b", "*", stdout=out)
    assert out.read_text() == "$HOME; a  b *\n"


def test_input_output_and_errors_are_files(slot):
    source, out, errors = (slot.scratch / name for name in ("in", "out", "err"))
    source.write_text("text")
    run(slot, "/bin/sh", "-c", "cat; echo problem >&2", stdin=source, stdout=out, stderr=errors)
    assert (out.read_text(), errors.read_text()) == ("text", "problem\n")
    run(slot, "/bin/sh", "-c", "cat; echo a; echo b >&2", stdout=out, stderr=out)
    assert out.read_text() == "a\nb\n"


def test_the_environment(slot, monkeypatch):
    out = slot.scratch / "out"
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    env = process.environment({"MKL_NUM_THREADS": "3", "NEW": "x"})
    process.run(["/usr/bin/env"], cwd=slot.scratch, env=env, groups=slot, timeout_s=10, stdout=out)
    found = out.read_text().splitlines()
    assert {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=3", "NEW=x"} <= set(found)
    assert f"PATH={os.environ['PATH']}" in found


def test_it_runs_in_a_session_of_its_own_where_it_is_told(slot):
    out = slot.scratch / "out"
    run(slot, *PYTHON, "-c", "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0), os.getcwd())", stdout=out)
    assert out.read_text() == f"True {slot.scratch}\n"


def test_a_time_out_takes_its_time_and_no_more(slot):
    start = time.monotonic()
    completed = run(slot, "/bin/sleep", "60", timeout_s=0.2)
    assert completed.timed_out and completed.signal == 15
    assert 0.2 <= time.monotonic() - start < 30.0  # not the 60


def test_a_program_that_ignores_sigterm_is_killed(slot):
    completed = fake(slot, "stubborn.py", "pid", timeout_s=1.0)
    assert (completed.timed_out, completed.signal) == (True, 9)
    assert not is_running(int((slot.scratch / "pid").read_text()))


@pytest.mark.parametrize("mode", ["wait", "leave"])
def test_what_a_program_forks_dies_with_it(slot, mode):
    """The child ignores SIGTERM. "wait": its parent hangs with it; "leave": its parent exits with 0."""
    completed = fake(slot, "forking.py", "pid", mode, timeout_s=1.5 if mode == "wait" else 60.0)
    assert completed.timed_out == (mode == "wait")
    child = int((slot.scratch / "pid").read_text())
    assert wait_until(lambda: not is_running(child))


def test_what_leaves_its_process_group_dies_with_the_scratch_root(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    fake(slot, "forking.py", "pid", "escape")
    child = int((slot.scratch / "pid").read_text())
    assert is_running(child)
    slot.close()
    root.close()
    assert wait_until(lambda: not is_running(child))


@pytest.mark.parametrize("words", [("stdout", "die"), ("output", "file", "die")])
def test_a_program_that_writes_gigabytes_is_stopped(slot, words):
    log = slot.scratch / "log"
    completed = fake(slot, "huge.py", *words, limits=Limits(file_bytes=8 << 20), stdout=log, stderr=log)
    assert completed.signal == 25
    assert max(p.stat().st_size for p in slot.scratch.iterdir()) <= 8 << 20


def test_a_program_that_wants_too_much_memory_gets_none(slot):
    log = slot.scratch / "log"
    completed = run(slot, *PYTHON, "-c", "x = bytearray(1 << 30)", limits=Limits(memory_bytes=1 << 28), stdout=log,
                    stderr=log)
    assert completed.exit_code == 1 and "MemoryError" in log.read_text()


def test_no_core_is_dumped(slot):
    out = slot.scratch / "out"
    run(slot, "/bin/sh", "-c", "ulimit -c", stdout=out)
    assert out.read_text() == "0\n"


def test_a_thousand_time_outs_leave_no_zombie_and_no_process(root):
    """10 ms each, in 8 threads."""
    slots = [Slot(k, root) for k in range(8)]
    started: list[int] = []

    def time_out(slot: Slot) -> int:
        add = slot.add
        slot.add = lambda pgid: (started.append(pgid), add(pgid))
        return sum(run(slot, "/bin/sleep", "60", timeout_s=0.01).timed_out for _ in range(125))

    with ThreadPoolExecutor(8) as pool:
        timed_out = sum(pool.map(time_out, slots))
    for slot in slots:
        slot.close()

    assert timed_out == len(started) == 1000
    assert zombies() == []
    assert not any(is_running(pid) for pid in started)


def test_where_there_is_neither_pidfd_nor_prlimit(slot, monkeypatch):
    """As on macOS: children are asked for, and a shell sets the limits."""
    monkeypatch.setattr(process, "_pidfd", lambda pid: None)
    monkeypatch.setattr(process, "_HAS_PRLIMIT", False)
    out = slot.scratch / "out"

    assert [run(slot, "/bin/sh", "-c", f"exit {k}").exit_code for k in (0, 3)] == [0, 3]
    assert run(slot, "/bin/sleep", "60", timeout_s=0.1).signal == 15
    run(slot, "/bin/echo", "$HOME;", "a  b", stdout=out)
    assert out.read_text() == "$HOME; a  b\n"
    completed = fake(slot, "huge.py", "stdout", "die", limits=Limits(file_bytes=8 << 20), stdout=out)
    assert completed.signal == 25 and out.stat().st_size <= 8 << 20
    completed = fake(slot, "forking.py", "pid", "leave")
    assert wait_until(lambda: not is_running(int((slot.scratch / "pid").read_text())))
    assert zombies() == []


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_lost_exit_status_is_not_a_success(tmp_path, pidfd):
    """Where SIGCHLD is ignored the kernel throws the status away, and Popen would report 0."""
    script = f"""
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        from raydnnr.errors import ToolFailure
        from raydnnr.tools import process
        from raydnnr.tools.slot import ScratchRoot, Slot
        if not {pidfd}:
            process._pidfd = lambda pid: None
        root = ScratchRoot.create({str(tmp_path)!r})
        slot = Slot(0, root)
        try:
            print(process.run(["/bin/false"], cwd=slot.scratch, env=process.environment(), groups=slot, timeout_s=10))
        except ToolFailure as error:
            print(error)
        slot.close()
        root.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30)
    assert done.stdout == "false: its exit status was taken by another part of this process\n", done.stderr


def test_killing_a_slot_ends_what_runs_there_and_lets_nothing_start(slot):
    results: list[Completed] = []
    thread = threading.Thread(target=lambda: results.append(run(slot, "/bin/sleep", "60")))
    thread.start()
    assert wait_until(lambda: bool(slot._groups))
    slot.kill()
    thread.join(30.0)
    assert results[0].signal == 9
    assert run(slot, "/bin/sleep", "60").signal == 9


def test_the_slot_is_empty_for_every_point(slot):
    (slot.scratch / "a" / "b").mkdir(parents=True)
    (slot.scratch / "a" / "b" / "file").write_text("")
    (slot.scratch / "locked").mkdir(mode=0o000)
    (slot.scratch / "link").symlink_to("/etc")
    slot.empty()
    assert list(slot.scratch.iterdir()) == []
    assert Path("/etc/passwd").exists()
