"""Sweeping: whose scratch roots are removed, and whose never are."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess

import pytest

from raydnnr.tools import slot as module
from raydnnr.tools.process import ending, tail
from raydnnr.tools.slot import scratch_base, sweep


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def root(base, pid: int, start: int = 1, host: str | None = None, boot: str | None = None, uid: int | None = None):
    path = base / f"raydnnr-{os.getuid() if uid is None else uid}-{pid}-{start}"
    path.mkdir()
    (path / "slot-000").mkdir()
    (path / "slot-000" / "file").write_text("left")
    (path / "owner").write_text(f"{host or socket.gethostname()}\n{module._boot_id() if boot is None else boot}\n")
    return path


def test_what_dead_processes_left_is_removed(tmp_path):
    dead = root(tmp_path, dead_pid())
    recycled = root(tmp_path, os.getpid(), start=1)  # our number, but it started at another time
    rebooted = root(tmp_path, os.getpid(), start=module._start_time(os.getpid()), boot="another-boot")
    empty = tmp_path / f"raydnnr-{os.getuid()}-{dead_pid()}-2"
    empty.mkdir()

    assert set(sweep(tmp_path)) == {dead, recycled, rebooted, empty}
    assert not any(tmp_path.iterdir())


def test_everything_else_stays(tmp_path):
    ours = root(tmp_path, os.getpid(), start=module._start_time(os.getpid()))
    on_another_machine = root(tmp_path, dead_pid(), host="elsewhere")
    no_owner = root(tmp_path, dead_pid(), start=3)
    (no_owner / "owner").unlink()
    other_names = [tmp_path / name for name in ("raydnnr-notes", "raydnnr-1-2", "raydnnr-1-2-3-4-5", "Raydnnr-0-1-1")]
    for path in other_names:
        path.mkdir()
    target = tmp_path / "precious"
    target.mkdir()
    (target / "thesis").write_text("")
    link = tmp_path / f"raydnnr-{os.getuid()}-{dead_pid()}-5"
    link.symlink_to(target)
    file = tmp_path / f"raydnnr-{os.getuid()}-{dead_pid()}-6"
    file.write_text("")

    assert sweep(tmp_path) == []
    assert {ours, on_another_machine, no_owner, *other_names, target, link, file} == set(tmp_path.iterdir())
    assert (target / "thesis").exists()


def test_a_root_that_its_owner_has_locked_stays_though_we_cannot_see_the_owner(tmp_path):
    """An owner in another container has a process id that means nothing here."""
    hidden = root(tmp_path, dead_pid())
    with open(hidden / "owner") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == [hidden]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_other_users_roots_stay(tmp_path):
    theirs = root(tmp_path, dead_pid(), uid=12345)
    os.chown(theirs, 12345, -1)
    assert sweep(tmp_path) == []


def test_a_folder_that_is_not_there_is_swept_in_silence(tmp_path):
    assert sweep(tmp_path / "nothing") == []


def test_without_proc_a_living_number_is_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_start_time", lambda pid: 0)
    root(tmp_path, os.getpid(), start=0)
    dead = root(tmp_path, dead_pid(), start=0)
    assert sweep(tmp_path) == [dead]


def test_scratch_is_in_memory_only_where_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1)
    assert scratch_base() == tmp_path
    monkeypatch.setattr(module, "MIN_FREE_BYTES", 1 << 60)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "tmp"))
    assert scratch_base() == tmp_path / "tmp"
    monkeypatch.setattr(module, "MEMORY", tmp_path / "nothing")
    assert scratch_base() == tmp_path / "tmp"


def test_endings_in_words():
    assert [ending(k) for k in (0, 3, -9, -11, -63, None)] == [
        "code 0", "code 3", "signal 9 (SIGKILL)", "signal 11 (SIGSEGV)", "signal 63", "an unknown status"]


def test_tails_are_bounded_and_take_any_bytes(tmp_path):
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_bytes(b"\xff\n" + b"".join(b"line %d  \n" % k for k in range(100_000)) + b"end\xfe")
    assert tail(log, n_lines=2) == "line 99999\nend\ufffd"
    assert len(tail(log)) <= 2000
    size = log.stat().st_size
    assert tail(log, since=size) == ""
    assert tail(log, since=size - 4) == "end\ufffd"
