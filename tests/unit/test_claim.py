"""One driver per run directory: who counts as living, and what becomes of the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time

import psutil
import pytest

from raydnnr import claim as module
from raydnnr.claim import BEAT_S, STALE_S, Claim, await_silence, living_driver
from raydnnr.errors import RunDirectoryError, StorageError
from tests.unit.runs import pretend_driver

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def somebody():
    """Another process that lives."""
    process = subprocess.Popen(["sleep", "600"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def age(run_dir, seconds):
    then = time.time() - seconds
    os.utime(run_dir / "driver.json", (then, then))


def test_a_claim_is_private_and_leaves_nothing(tmp_path):
    claim = Claim.take(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["driver.json"]
    assert (tmp_path / "driver.json").stat().st_mode & 0o777 == 0o600
    card = json.loads((tmp_path / "driver.json").read_text())
    assert card == {"host": HERE, "pid": os.getpid(), "started": psutil.Process().create_time()}
    assert living_driver(tmp_path) == card
    claim.release()
    assert not list(tmp_path.iterdir())
    assert living_driver(tmp_path) is None


def test_a_second_driver_is_refused_also_in_the_same_process(tmp_path):
    first = Claim.take(tmp_path)
    with pytest.raises(RunDirectoryError, match=rf"process {os.getpid()} on {HERE}"):
        Claim.take(tmp_path)
    first.release()
    Claim.take(tmp_path).release()


@pytest.mark.parametrize("card", [
    {"host": HERE, "pid": 2**22 + 1},  # no such process
    {"host": HERE, "pid": os.getpid(), "started": 1.0},  # ours, of an earlier life of the machine
    {"host": HERE, "started": 1.0},  # another process has the number now
], ids=["gone", "ourselves", "number used again"])
def test_a_dead_driver_of_this_host_is_followed_at_once(tmp_path, card, somebody):
    pretend_driver(tmp_path, **{"pid": somebody.pid} | card)
    assert living_driver(tmp_path) is None
    Claim.take(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_a_living_process_of_this_host_is_respected_however_old_its_heartbeat(tmp_path, somebody):
    pretend_driver(tmp_path, host=HERE, pid=somebody.pid, started=somebody.create_time())
    age(tmp_path, 10 * STALE_S)
    with pytest.raises(RunDirectoryError, match=f"process {somebody.pid}"):
        Claim.take(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["driver.json"]


def test_a_driver_elsewhere_lives_as_long_as_its_heart_beats(tmp_path):
    pretend_driver(tmp_path, pid=17)
    age(tmp_path, STALE_S / 2)
    with pytest.raises(RunDirectoryError, match="process 17 on elsewhere"):
        Claim.take(tmp_path)
    age(tmp_path, STALE_S + 5)
    Claim.take(tmp_path).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"host": 1, "pid": "x", "started": 0}', b"\xff"])
def test_a_card_that_says_nothing_is_nobodys(tmp_path, content):
    (tmp_path / "driver.json").write_bytes(content)
    assert living_driver(tmp_path) is None
    claim = Claim.take(tmp_path)
    assert json.loads((tmp_path / "driver.json").read_text())["pid"] == os.getpid()
    claim.release()


def test_the_heart_beats_every_few_seconds(tmp_path, monkeypatch):
    claim = Claim.take(tmp_path)
    age(tmp_path, 30)
    claim.beat()
    assert time.time() - (tmp_path / "driver.json").stat().st_mtime > 20  # not yet
    monkeypatch.setattr(module, "BEAT_S", -1.0)
    claim.beat()
    assert time.time() - (tmp_path / "driver.json").stat().st_mtime < 20
    assert BEAT_S < STALE_S / 5
    claim.release()


def test_who_was_thought_dead_stops_and_leaves_the_others_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", -1.0)
    claim = Claim.take(tmp_path)
    pretend_driver(tmp_path)
    with pytest.raises(StorageError, match="no longer ours"):
        claim.beat()
    claim.release()
    assert (tmp_path / "driver.json").exists()


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    claim = Claim.take(tmp_path)
    with pytest.raises(RunDirectoryError):
        Claim.take(tmp_path)
    claim.release()
    assert not list(tmp_path.iterdir())


def test_a_living_driver_that_came_in_between_gets_its_claim_back(tmp_path, monkeypatch, somebody):
    """It claims after its predecessor was found dead, just before we take the dead one's card away."""
    pretend_driver(tmp_path, host=HERE, pid=2**22 + 1)
    rename = os.rename

    def another_was_faster(*names: object) -> None:
        monkeypatch.setattr(os, "rename", rename)
        pretend_driver(tmp_path, host=HERE, pid=somebody.pid, started=somebody.create_time())
        rename(*names)

    monkeypatch.setattr(os, "rename", another_was_faster)
    with pytest.raises(RunDirectoryError, match=f"process {somebody.pid}"):
        Claim.take(tmp_path)
    assert living_driver(tmp_path)["pid"] == somebody.pid
    assert [path.name for path in tmp_path.iterdir()] == ["driver.json"]


def test_a_living_driver_that_came_before_we_looked_again_is_left_alone(tmp_path, monkeypatch, somebody):
    pretend_driver(tmp_path, host=HERE, pid=2**22 + 1)

    def dead_when_we_looked(*_: object) -> None:
        monkeypatch.setattr(module, "living_driver", living_driver)
        pretend_driver(tmp_path, host=HERE, pid=somebody.pid, started=somebody.create_time())

    monkeypatch.setattr(module, "living_driver", dead_when_we_looked)
    monkeypatch.setattr(os, "rename", None)  # the card stays where it is
    with pytest.raises(RunDirectoryError, match=f"process {somebody.pid}"):
        Claim.take(tmp_path)


def test_a_driver_elsewhere_is_given_time_to_show_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALE_S", 2.0)
    await_silence(tmp_path)  # nobody
    pretend_driver(tmp_path, pid=17)
    age(tmp_path, 1.0)
    await_silence(tmp_path)
    assert living_driver(tmp_path) is None  # it was silent
    age(tmp_path, 0.0)
    beat = threading.Timer(0.3, os.utime, [tmp_path / "driver.json"])
    beat.start()
    await_silence(tmp_path)
    assert living_driver(tmp_path)["pid"] == 17
    beat.join()
