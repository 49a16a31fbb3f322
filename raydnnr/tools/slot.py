"""Slots: where one point at a time is evaluated, in a private scratch directory below a `ScratchRoot`."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raydnnr.errors import ConfigError, ToolFailure
from raydnnr.tools.guard import PREFIX, Guard, finish, marks

MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 256 << 20
_NAME = re.compile(re.escape(PREFIX) + r"(\d+)-(\d+)-(\d+)(?:\.\d+)?")
_OWNER = "owner"
_roots_made = itertools.count()


class Resident(Protocol):
    """A process that stays in a slot between points."""

    def close(self) -> None:
        """End it."""
        ...


class SlotClosed(ToolFailure):
    """The slot was closed while it worked; nothing can be said about the point."""


class ScratchRoot:
    """The scratch directory of one evaluator, ``<base>/raydnnr-<uid>-<pid>-<start time>``, mode 0700, and its guard.

    It vanishes with its owner: by `close`, else by the guard, else by the `sweep` of the next one in the same base.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = open(path / _OWNER, "w", encoding="utf-8")  # noqa: SIM115 - its lock lives as long as we do
        with contextlib.suppress(OSError):  # no locks on this file system: process id and start time must do
            fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._owner.write(f"{socket.gethostname()}\n{_boot_id()}\n")
        self._owner.flush()
        self.guard = Guard(str(path))

    @classmethod
    def create(cls, base: str = "auto") -> ScratchRoot:
        """Sweep ``base``, then make a scratch root in it.

        Args:
            base: A folder; ``auto``: memory (``/dev/shm``) where it has 256 MiB free, else ``$TMPDIR`` or ``/tmp``.

        Raises:
            ConfigError: The folder is not there, or not writable.
        """
        folder = scratch_base() if base == "auto" else Path(base).expanduser().absolute()
        if "\n" in str(folder) or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"cluster.scratch: {str(folder)!r} is not a writable folder on {socket.gethostname()}; "
                              "use a node-local folder, or 'auto'")
        sweep(folder)
        stem = f"{PREFIX}{os.getuid()}-{os.getpid()}-{_start_time(os.getpid())}"
        for count in _roots_made:  # never a name again: the guard of an earlier root may still be cleaning up
            path = folder / (f"{stem}.{count}" if count else stem)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
                return cls(path)
        raise AssertionError("counting ended")

    def close(self) -> None:
        """Remove everything; the guard ends."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()
        self.guard.close()


class Slot:
    """One point at a time: a scratch directory, and the processes that work in it.

    Args:
        index: Number of the slot in its evaluator.
        root: Holds the scratch directory.
    """

    def __init__(self, index: int, root: ScratchRoot) -> None:
        self.index = index
        self.scratch = root.path / f"slot-{index:03d}"
        self.mark: Mapping[str, str] = marks(str(root.path))
        self._guard = root.guard
        self._groups: set[int] = set()
        self._residents: dict[str, Resident] = {}
        self._lock = threading.Lock()
        self._killed = False
        self.scratch.mkdir(exist_ok=True)

    @property
    def killed(self) -> bool:
        """Whether `kill` was called: nothing may start here any more."""
        return self._killed

    def empty(self) -> None:
        """Remove what the last point left in the scratch directory."""
        with os.scandir(self.scratch) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        os.chmod(entry.path, 0o700)
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)

    def log(self, name: str) -> Path:
        """A file beside the scratch directory, for what a resident prints."""
        return self.scratch.with_name(f"{self.scratch.name}.{name}.log")

    def add(self, pgid: int) -> None:
        """A process group runs here."""
        self._guard.add(pgid)
        with self._lock:
            self._groups.add(pgid)
            if self._killed:
                _kill(pgid)

    def discard(self, pgid: int) -> None:
        """A process group has ended; its leader is not reaped yet."""
        with self._lock:
            self._groups.discard(pgid)
        self._guard.discard(pgid)

    def resident(self, key: str, start: Callable[[], Resident]) -> Resident:
        """The process kept under this key, started if there is none.

        Raises:
            SlotClosed: Nothing may start here any more.
        """
        if key not in self._residents:
            if self._killed:
                raise SlotClosed("the slot was closed")
            self._residents[key] = start()
        return self._residents[key]

    def dismiss(self, key: str) -> None:
        """End the process kept under this key, if there is one."""
        if resident := self._residents.pop(key, None):
            resident.close()

    def kill(self) -> None:
        """Kill what runs here, from any thread. Whoever waits for it sees it end."""
        with self._lock:
            self._killed = True
            for pgid in self._groups:
                _kill(pgid)

    def close(self) -> None:
        """End the residents; nothing may start here any more."""
        self.kill()
        for key in list(self._residents):
            self.dismiss(key)


def scratch_base() -> Path:
    """Memory where there is room, else the folder for temporary files."""
    with contextlib.suppress(OSError):
        space = os.statvfs(MEMORY)
        if os.access(MEMORY, os.W_OK | os.X_OK) and space.f_bavail * space.f_frsize >= MIN_FREE_BYTES:
            return MEMORY
    return Path(tempfile.gettempdir())


def sweep(base: Path) -> list[Path]:
    """Remove scratch roots of this user in ``base`` whose owner is gone, and end what still works there; what was
    removed.

    Owners on other machines (the folder may be shared), and in other containers of this one, are left in peace.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if (owner := _Owner.parse(entry)) and owner.gone(Path(entry.path)):
                removed.append(Path(entry.path))
    if removed:
        finish(set(), {str(path) for path in removed}, {})
    return removed


@dataclass(frozen=True)
class _Owner:
    """Whose scratch root this is, by its name."""

    pid: int
    start_time: int

    @classmethod
    def parse(cls, entry: os.DirEntry[str]) -> _Owner | None:
        """None if it is no scratch root of this user."""
        match = _NAME.fullmatch(entry.name)
        with contextlib.suppress(OSError):
            ours = entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
            if match and ours:
                return cls(int(match[2]), int(match[3]))
        return None

    def gone(self, root: Path) -> bool:
        """Whether no process can own this root any more."""
        try:
            with open(root / _OWNER, encoding="utf-8") as owner:
                host, boot, *_ = (*owner.read().split("\n"), "", "")
                if host != socket.gethostname():
                    return False
                if boot and boot != _boot_id():
                    return True
                return not _is_alive(self.pid, self.start_time) and not _is_locked(owner.fileno())
        except FileNotFoundError:
            return not any(root.iterdir()) and not _is_alive(self.pid, self.start_time)
        except OSError:
            return False


def _is_locked(fd: int) -> bool:
    """Whether its owner holds the file's lock, though from here (another container) we do not see that process."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_alive(pid: int, start_time: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process has the number now; the start time tells
    now = _start_time(pid)
    return not now or now == start_time


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where that cannot be known (no /proc)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _kill(pgid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)
