"""Guard: a tiny process that outlives its evaluator and ends what the evaluator leaves behind.

The evaluator tells it, a line each, what it would leave: ``dir PATH`` a scratch directory, ``+N`` a process group that
runs, ``-N`` one that has ended, ``=N`` a single process. When the pipe closes, however the evaluator ended, the guard
sends TERM and half a second later KILL to every group and process still listed, and to every process that carries the
mark of the scratch directory in its environment (one that was being started, or has left its group), then removes the
directory.

This file is also the program itself: run by its path with ``python -I -S``, it may import nothing but small parts of
the standard library, and those late.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

MARK = "RAYDNNR_SCRATCH"  # environment variable of all processes started in a scratch directory: its path
KEPT = "SPT_NOENV"  # ... which setproctitle, of Ray among others, writes over where this one is not set
PREFIX = "raydnnr-"  # of the names of scratch directories: no other folder is ever removed
GRACE_S = 0.5
_BULK_S = 0.05  # lines are read in bulk: thousands of short programs per second must not cost the guard any time
_TERM, _KILL = 15, 9


def marks(folder: str) -> dict[str, str]:
    """Environment variables of processes that are to end with a scratch directory, whatever title they take."""
    return {MARK: folder, KEPT: "1"}


class Guard:
    """The evaluator's end of the pipe. A guard that was killed is replaced.

    Args:
        folder: Scratch directory to remove in the end.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._groups: set[int] = set()
        self._processes: set[int] = set()
        self._lock = threading.Lock()
        self._pipe = self._start()
        self._closed = False

    def add(self, pgid: int) -> None:
        """A process group runs."""
        with self._lock:
            self._groups.add(pgid)
            self._tell(f"+{pgid}\n")

    def discard(self, pgid: int) -> None:
        """A process group has ended, and its leader is not reaped yet (so the number is not another's)."""
        with self._lock:
            self._groups.discard(pgid)
            self._tell(f"-{pgid}\n")

    def add_process(self, pid: int) -> None:
        """A process that is not ours to wait for must not outlive us either (a server of Ray's)."""
        with self._lock:
            self._processes.add(pid)
            self._tell(f"={pid}\n")

    def close(self) -> None:
        """Let the guard do its work and end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._pipe)

    def _tell(self, line: str) -> None:
        if self._closed:
            return
        try:
            os.write(self._pipe, line.encode())
        except BrokenPipeError:
            os.close(self._pipe)
            self._pipe = self._start()

    def _start(self) -> int:
        import subprocess  # here: the guard process itself must stay small

        read_end, write_end = os.pipe()
        try:
            first = subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=read_end, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL, cwd="/", env={}, start_new_session=True)
        finally:
            os.close(read_end)
        listed = "".join([*(f"+{pgid}\n" for pgid in self._groups), *(f"={pid}\n" for pid in self._processes)])
        os.write(write_end, os.fsencode(f"dir {self._folder}\n{listed}"))
        first.wait()
        return write_end


def main() -> None:
    """The guard process: listen until the pipe closes, then clean up."""
    if os.fork():
        os._exit(0)  # nobody's child any more: Ray kills the children of its workers
    import signal

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    processes: dict[int, bytes] = {}
    folders: set[str] = set()
    rest = b""
    while data := os.read(0, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _note(line, groups, processes, folders)
        time.sleep(_BULK_S)
    finish(groups, folders, processes)


def finish(groups: set[int], folders: set[str], processes: dict[int, bytes]) -> None:
    """End these processes, all of these groups and all marked with these folders; remove the folders."""
    end(groups, folders, processes)
    import shutil

    for folder in folders:
        if os.path.basename(folder).startswith(PREFIX) and not os.path.islink(folder):
            shutil.rmtree(folder, ignore_errors=True)


def end(groups: set[int], folders: set[str], processes: dict[int, bytes]) -> None:
    """End these processes, all of these groups and all marked with these folders."""
    deadline = time.monotonic() + GRACE_S
    _signal_all(groups, folders, _TERM)
    _signal_processes(processes, _TERM)
    while _alive(groups) and time.monotonic() < deadline:
        time.sleep(0.02)
    if processes:
        time.sleep(max(0.0, deadline - time.monotonic()))
        _signal_processes(processes, _KILL)
    for _ in range(2):  # a second look: for what was only being born at the first
        _signal_all(groups, folders, _KILL)
        time.sleep(0.1)


def _note(line: bytes, groups: set[int], processes: dict[int, bytes], folders: set[str]) -> None:
    if line[:1] == b"=":
        processes[int(line[1:])] = _born(int(line[1:]))
    elif line.startswith(b"dir "):
        folders.add(os.fsdecode(line[4:]))
    elif line[:1] == b"+":
        groups.add(int(line[1:]))
    elif line[:1] == b"-":
        groups.discard(int(line[1:]))


def _signal_all(groups: set[int], folders: set[str], number: int) -> None:
    """Signal everything that is left."""
    for send, targets in ((os.killpg, groups), (os.kill, _marked(folders))):
        for target in targets:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(target, number)


def _signal_processes(processes: dict[int, bytes], number: int) -> None:
    """Signal those that still are what they were: a number may be another process's by now."""
    for pid, born in processes.items():
        if _born(pid) == born:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass


def _born(pid: int) -> bytes:
    """When a process started, as the system writes it; empty where that cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except OSError:
        return b""


def _alive(groups: set[int]) -> bool:
    for pgid in groups:
        try:
            os.killpg(pgid, 0)
            return True
        except (ProcessLookupError, PermissionError):
            pass
    return False


def _marked(folders: set[str]) -> list[int]:
    """Processes of ours whose environment names one of these folders (Linux; elsewhere none are found)."""
    marks = [os.fsencode(f"{MARK}={folder}") for folder in folders]
    found = []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        try:
            if pid != os.getpid() and os.stat(f"/proc/{pid}").st_uid == os.getuid():
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if any(mark in file.read().split(b"\0") for mark in marks):
                        found.append(pid)
        except OSError:
            pass
    return found


if __name__ == "__main__":
    main()
