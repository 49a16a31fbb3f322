"""A node's ports, temporary directory and sweep, without Ray."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from raydnnr.cluster import node as module
from raydnnr.cluster.node import BLOCK, FIRST_PORT, JobFolder, Ports, TemporaryFolder, own_address, store_bytes, sweep
from raydnnr.errors import RaydnnrError

STARTED = "import os,sys,time; print('up', flush=True); time.sleep(600)"
TITLED = "import ray, time; ray._raylet.setproctitle('ray::Agent'); print('up', flush=True); time.sleep(600)"


def test_what_is_said_in_a_job_folder_is_heard(tmp_path):
    job = JobFolder(tmp_path)
    assert job.heard("address") == "" and job.asked_to_end()  # its token is gone: the job is over
    job.tell("token", "secret")
    assert job.token.stat().st_mode & 0o777 == 0o600 and not job.asked_to_end()
    job.tell("address", "10.0.0.1:6379")
    assert job.heard("address") == "10.0.0.1:6379"
    job.tell("end", "")
    assert job.asked_to_end()


def test_a_block_in_which_one_port_is_taken_is_not_used():
    first = Ports.free(7)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", first.first + BLOCK // 2))
        taken.listen()
        second = Ports.free(7)
    assert (first.first - FIRST_PORT) % BLOCK == (second.first - FIRST_PORT) % BLOCK == 0
    assert second != first == Ports.free(7)


def test_no_port_is_named_twice_and_all_are_of_the_block():
    words = [w.partition("=") for w in Ports(20_000).options(head=True)]
    numbers = [int(number) for *_, number in words]
    assert len(set(numbers)) == len(numbers) and all(20_000 <= n < 20_000 + BLOCK for n in numbers)
    assert {w for w, *_ in words} >= {"--port", "--dashboard-port", "--node-manager-port", "--object-manager-port",
                                      "--runtime-env-agent-port", "--dashboard-agent-grpc-port",
                                      "--dashboard-agent-listen-port", "--metrics-export-port",
                                      "--min-worker-port", "--max-worker-port", "--ray-client-server-port"}


def test_no_free_ports_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr(module, "_can_bind", lambda address, port: False)
    with pytest.raises(RaydnnrError, match="no 400 free ports"):
        Ports.free(0)


@pytest.mark.parametrize("program", [STARTED, TITLED], ids=["plain", "titled"])
def test_a_temporary_directory_is_private_and_goes_with_its_processes(tmp_path, program):
    folder = TemporaryFolder(tmp_path, "1-0.0")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert sweep(tmp_path) == []  # it lives
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **folder.environment},
                               stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    folder.for_ray.mkdir(mode=0o777)
    folder.end_processes()
    assert process.wait(10) < 0
    assert folder.path.exists() and not folder.for_ray.exists()
    folder.close()
    assert not list(tmp_path.iterdir())


def test_a_dead_nodes_directory_and_processes_are_swept(tmp_path):
    script = (f"import os, subprocess, sys; from pathlib import Path; from raydnnr.cluster.node import TemporaryFolder\n"
              f"f = TemporaryFolder(Path({str(tmp_path)!r}), '1-0.0')\n"
              f"p = subprocess.Popen([sys.executable, '-c', {STARTED!r}], env={{**os.environ, **f.environment}})\n"
              f"os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", script], check=False, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)  # its guard is at work
    assert not list(tmp_path.iterdir())

    (tmp_path / f"{module.STEM}{os.getuid()}-2-0.0").mkdir()  # and where the guard was killed, too
    (tmp_path / f"{module.STEM}{os.getuid()}-2-0.0" / "owner").touch()
    (tmp_path / f"{module.STEM}{os.getuid() + 1}-2-0.0").mkdir()  # somebody else's
    (tmp_path / "raydnnr-elsewhere").mkdir()
    assert [path.name for path in sweep(tmp_path)] == [f"{module.STEM}{os.getuid()}-2-0.0"]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("lives", [False, True], ids=["killed with its guard", "deaf"])
def test_a_job_ends_with_a_sweep_of_what_its_nodes_have_left(tmp_path, monkeypatch, lives):
    monkeypatch.setattr(module.slot, "MEMORY", tmp_path / "memory")
    monkeypatch.setenv("RAYDNNR_TMP", str(tmp_path))
    monkeypatch.setenv("RAYDNNR_JOB", "7")
    monkeypatch.setattr(module, "MAX_FOLDER", 200)
    monkeypatch.setattr(module, "LAST_S", 0.5)
    (tmp_path / "memory").mkdir()
    ours, anothers = (TemporaryFolder(tmp_path, name) for name in ("7-0.0", "71-0.0"))
    processes = [subprocess.Popen([sys.executable, "-c", STARTED], env={**os.environ, **folder.environment},
                                  stdout=subprocess.PIPE) for folder in (ours, anothers)]
    assert all(process.stdout and process.stdout.readline() for process in processes)
    if not lives:
        ours._owner.close()  # and its guard does not know yet
    assert module.main([str(tmp_path), "--sweep"]) == 0
    assert processes[0].wait(10) < 0 and not ours.path.exists()
    assert processes[1].poll() is None and anothers.path.exists()
    anothers.close()
    processes[1].wait(10)


def test_what_an_evaluator_left_that_was_killed_with_its_guard_goes_before_and_after_a_node(tmp_path, monkeypatch):
    for name in ("node", "memory"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(module.slot, "MEMORY", tmp_path / "memory")
    monkeypatch.setattr(module, "_base", lambda: tmp_path / "node")
    dead = subprocess.Popen(["true"])
    dead.wait()

    def left() -> list[Path]:
        return list((tmp_path / "memory").iterdir())

    def leave() -> None:
        (tmp_path / "memory" / f"{module.PREFIX}{os.getuid()}-{dead.pid}-1").mkdir()

    leave()
    with module._temporary_folder():
        assert not left()
        leave()
    assert not left() and not list((tmp_path / "node").iterdir())


def test_a_node_without_a_head_says_so_and_ends_in_a_way_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAYDNNR_TMP", str(tmp_path))
    monkeypatch.setattr(module, "MAX_FOLDER", 200)
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module.signal, "signal", lambda number, handler: None)
    job = tmp_path / "job"
    job.mkdir()
    JobFolder(job).tell("token", "secret")
    assert module.main([str(job), "--cpus", "1"]) == module.NO_HEAD
    assert "no head node after 0 s" in capsys.readouterr().err
    JobFolder(job).tell("end", "")
    assert module.main([str(job), "--cpus", "1"]) == module.NO_HEAD
    assert "the job ended before this node" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_a_path_that_is_too_long_for_sockets_is_not_used(monkeypatch, capsys):
    monkeypatch.setenv("RAYDNNR_TMP", "/local/" + "x" * 40)
    assert module._base() == Path("/tmp") and "too long" in capsys.readouterr().err
    monkeypatch.setenv("RAYDNNR_TMP", "/local")
    assert module._base() == Path("/local")


def test_the_object_store_fits_into_shared_memory(tmp_path, monkeypatch, capsys):
    for free_mib, size_mib in ((64, 80), (200, 100), (100_000, 256)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, n=free_mib: SimpleNamespace(free=n << 20))
        assert store_bytes(tmp_path) == size_mib << 20
    assert "goes to the disk" in capsys.readouterr().err


def test_our_address_is_one_of_this_machine(monkeypatch):
    with socket.socket() as probe:
        probe.bind((own_address(), 0))
    monkeypatch.setenv("SLURMD_NODENAME", "no-such-machine.invalid")
    with socket.socket() as probe:
        probe.bind((own_address(), 0))


@pytest.mark.parametrize(("tmpdir", "kept"), [("/tmp", False), ("/scratch/job", True), ("/" + 69 * "x", True), ("/" + 70 * "x", False)])
def test_temporary_files_go_where_sockets_fit_and_somebody_cleans_up(monkeypatch, tmp_path, tmpdir, kept):
    monkeypatch.setenv("TMPDIR", tmpdir)
    folder = SimpleNamespace(path=Path("/tmp/ours"), environment={})
    found = module._environment(JobFolder(tmp_path), folder, Ports(20_000))
    assert found["TMPDIR"] == (tmpdir if kept else "/tmp/ours")


def test_a_node_has_started_when_its_raylet_has_found_its_agent(tmp_path, monkeypatch):
    node = module.Node(JobFolder(tmp_path), True, [], SimpleNamespace(for_ray=tmp_path / "r"))
    now = time.monotonic()
    assert not node._has_started(now)
    assert node._has_started(now - 25.0)  # longer than a raylet waits
    (tmp_path / "r" / "session_2026-11-24").mkdir(parents=True)
    (tmp_path / "r" / "session_2026-11-24" / "dashboard_agent_listen_port_0123").touch()
    assert node._has_started(now)


class Child:
    """A process below ``ray start``: its name, its state, or that it is gone when one asks."""

    def __init__(self, name="", state=psutil.STATUS_SLEEPING):
        self._name, self._state = name, state

    def name(self):
        if not self._name:
            raise psutil.NoSuchProcess(1)
        return self._name

    def status(self):
        return self._state


@pytest.mark.parametrize(("children", "lives"), [
    ([Child(), Child("gcs_server"), Child("raylet")], True), ([Child("raylet"), Child()], True),
    ([Child("gcs_server"), Child()], False), ([Child("raylet", psutil.STATUS_ZOMBIE)], False), ([], False),
])
def test_only_the_end_of_its_raylet_is_the_end_of_a_node(monkeypatch, children, lives):
    """Not that of one of the helpers which Ray starts and ends: a healthy Ray would be killed for it."""
    monkeypatch.setattr(psutil, "Process", lambda pid: SimpleNamespace(children=lambda: children))
    assert module._has_raylet(1) == lives
