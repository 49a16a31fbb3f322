"""What another user of the same machine gets of a scan: nothing but numbers without names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.small_scan import SmallScan

pytest.importorskip("grpc")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("useradd"),
    reason="makes a user, and so needs Linux and root")]

USER = "raydnnr-intruder"
# Imports, and first uses, which import more, come first: the intruder may not be able to read the Python of whoever runs the tests.
INTRUDER = """
import concurrent.futures, copy, email.parser, encodings.idna, grpc, grpc._channel, http.client, json, logging, os, pwd, sys
import urllib.error, urllib.request, urllib.response
channel = grpc.insecure_channel("127.0.0.1:1")
try:
    grpc.channel_ready_future(channel).result(timeout=0.1)
except grpc.FutureTimeoutError:
    pass
try:
    channel.unary_unary("/a/b", request_serializer=bytes, response_deserializer=bytes)(b"", timeout=0.1)
except grpc.RpcError as error:
    error.code().name
channel.close()
try:
    urllib.request.urlopen("http://127.0.0.1:1/", timeout=0.1)
except OSError:
    pass
user, ports, token, folders, pids = json.loads(sys.argv[1])
if user:
    entry = pwd.getpwnam(user)
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
METHODS = ["NodeManagerService/GetNodeStats", "NodeManagerService/RequestWorkerLease", "CoreWorkerService/PushTask",
           "CoreWorkerService/Exit", "CoreWorkerService/GetCoreWorkerStats", "ObjectManagerService/Pull",
           "NodeInfoGcsService/GetAllNodeInfo", "InternalKVGcsService/InternalKVGet", "ReporterService/GetTraceback",
           "LogService/ListLogs"]
if token == "right":
    METHODS = ["NodeInfoGcsService/GetAllNodeInfo", "CoreWorkerService/GetCoreWorkerStats"]
    token = open(folders[0] + "/ray-token").read()
headers = {"Authorization": f"Bearer {token}"} if token else {}
rpc, http, read = [], [], []
for address in ports:
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=3)
    except grpc.FutureTimeoutError:
        for path in ("", "api/version", "api/jobs/", "api/v0/actors", "nodes?view=summary", "get_runtime_envs_info"):
            try:
                with urllib.request.urlopen(urllib.request.Request(f"http://{address}/{path}", headers=headers), timeout=10) as a:
                    http.append((address, path, a.status, a.read(6).decode()))
            except urllib.error.HTTPError as error:
                http.append((address, path, error.code, ""))
            except OSError:
                pass
        continue
    for method in METHODS:
        call = channel.unary_unary(f"/ray.rpc.{method}", request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=10, metadata=[(k.lower(), v) for k, v in headers.items()])
            rpc.append((address, method, "OK"))
        except grpc.RpcError as error:
            rpc.append((address, method, error.code().name))
for folder in folders:
    for path in [folder, *(os.path.join(f, n) for f, d, files in os.walk(folder) for n in d + files)]:
        try:
            os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
            read.append(path)
        except OSError:
            pass
for pid in pids:
    for name in ("environ", "mem"):
        try:
            open(f"/proc/{pid}/{name}", "rb").read(1); read.append(name)
        except OSError:
            pass
    try:
        os.kill(pid, 0); read.append("kill")
    except OSError:
        pass
print(json.dumps([rpc, http, read]))
"""


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    subprocess.run(["useradd", "--system", "--no-create-home", USER], check=True)
    yield USER
    subprocess.run(["userdel", USER], check=True)


class Running:
    """A scan at work: its processes, folders and ports."""

    def __init__(self, folder: Path) -> None:
        scan = SmallScan(folder)
        self.run_dir = scan.run_dir
        self.driver = scan.start()
        scan.wait_for(lambda: list(self.run_dir.glob("evaluations/*.parquet")), "a shard", self.driver)
        self.processes = [psutil.Process(self.driver.pid), *psutil.Process(self.driver.pid).children(recursive=True)]

    def listening(self) -> list[tuple[str, int]]:
        """Address and port of all that listens."""
        found = {tuple(c.laddr) for p in self.processes for c in p.net_connections(kind="inet")
                 if c.status == psutil.CONN_LISTEN}
        return sorted((str(host).removeprefix("::ffff:"), int(port)) for host, port in found)

    def folders(self) -> list[str]:
        """The run directory, Ray's temporary directory, and the slots' scratch."""
        words = " ".join(word for p in self.processes for word in p.cmdline()).replace("=", " ").split()
        own = {"/".join(word.split("/")[:3]) for word in words if word.startswith("/tmp/raydnnr-")}
        scratch = {f.path.rpartition("/")[0] for p in self.processes for f in p.open_files() if f.path.endswith("/owner")}
        assert own and scratch
        return [str(self.run_dir), *own, *scratch]

    def seen_by(self, user: str, token: str) -> Any:
        ports = [f"{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}" for host, port in self.listening()]
        words = json.dumps([user, ports, token, self.folders(), [p.pid for p in self.processes if p.is_running()]])
        done = subprocess.run([sys.executable, "-c", INTRUDER, words], capture_output=True, text=True, timeout=240,
                              check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("s"))
    for folder in (running.run_dir, *running.run_dir.parents):
        if folder == running.run_dir.parents[-1] or folder == Path("/tmp"):
            break
        if folder != running.run_dir:
            folder.chmod(0o755)  # what keeps others out is the run directory's own doing, not pytest's
    yield running
    running.driver.terminate()
    assert running.driver.wait(60) == 85


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_another_user_gets_neither_into_ray_nor_at_the_data(scan: Running, user: str, token: str) -> None:
    """Every port of every process of the scan, without a token and with a wrong one; every file; every process."""
    rpc, http, read = scan.seen_by(user, token)

    answers = {code for _, _, code in rpc}
    assert answers <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, rpc
    refusing = {address for address, _, code in rpc if code == "UNAUTHENTICATED"}
    assert len(refusing) >= 5  # control service, raylet, its objects, driver, evaluator
    told = [(address, path) for address, path, code, body in http
            if code == 200 and not body.startswith("# HELP") and path]  # metrics are open, and the bare page
    assert not told
    assert {code for _, path, code, _ in http if path == "api/version"} >= {401 if not token else 403}
    assert read == []


def test_the_owner_gets_in_by_the_same_doors(scan: Running) -> None:
    """Or the test above would show nothing."""
    rpc, http, read = scan.seen_by("", "right")
    assert {method for _, method, code in rpc if code == "OK"} >= {"NodeInfoGcsService/GetAllNodeInfo"}
    assert any(code == 200 for _, path, code, _ in http if path == "api/version")
    assert {Path(path).name for path in read} >= {"ray-token", "scan.log", "config.toml", "environ", "kill"}


def test_ray_listens_on_loopback_and_files_are_the_owners_alone(scan: Running) -> None:
    status = json.loads((scan.run_dir / "status.json").read_text())
    listening = scan.listening()
    assert int(status["dashboard"].rpartition(":")[2]) in {port for _, port in listening}
    assert {host for host, _ in listening} == {"127.0.0.1"}, listening
    open_to_others = [str(path) for path in (scan.run_dir, *scan.run_dir.rglob("*")) if path.stat().st_mode & 0o077]
    assert open_to_others == []
