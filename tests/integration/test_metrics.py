"""What Ray, Prometheus, Grafana's dashboard and a browser see of a scan."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raydnnr.cluster.metrics import GAUGES
from tests.small_scan import SmallScan, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "slurm" / "grafana.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
SEARCH = 'method = "mls_dnnr"\nbootstrap_points = 40\npoints_per_iteration = 40\nepochs = 20'
PHYSICS = """
import time
def observables(point):
    time.sleep(0.02)
    if point["x"] > 0.9:
        raise ValueError("no")
    return {"y": point["x"] if point["x"] > 0.1 else float("nan")}
"""


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallScan]:
    """A scan that runs and has trained."""
    scan = SmallScan(tmp_path_factory.mktemp("w"), SEARCH, physics=PHYSICS)
    driver = scan.start()
    scan.wait_for(lambda: scan.status().get("training"), "the first training", driver)
    yield scan
    driver.terminate()
    assert driver.wait(60) == 85


def test_grafana_asks_for_every_metric_and_no_other() -> None:
    asked = {name.removesuffix("_total") for query in QUERIES for name in re.findall(r"ray_raydnnr_(\w+)", query)}
    assert asked == {*GAUGES, "evaluations", "workers_lost", "tool_seconds"}
    assert asked >= {"good_points", "hit_rate", "slots_busy", "queue_length", "training_seconds", "training_loss", "best_nll",
                     "coverage", "driver_lag_seconds"}


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed (apt-get install prometheus)")
def test_prometheus_answers_every_query_of_the_dashboard(scan: SmallScan, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "2s"},
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": [{"files": [str(discovery(scan))]}]}]}))
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port that is free: other tests may run beside these
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with open(tmp_path / "log", "w") as log:
        prometheus = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        wait_for(lambda: all(ask(address, query) for query in QUERIES), (tmp_path / "log").read_text, prometheus)
        counted = {r["metric"]["status"]: float(r["value"][1]) for r in ask(address, QUERIES[5])}
        assert counted.keys() == {"ok", "invalid", "failed"} and counted["ok"] > counted["failed"] > 0
        assert {r["metric"]["scan"] for r in ask(address, "ray_raydnnr_slots")} == {"small"}
    finally:
        prometheus.terminate()
        prometheus.wait(20)


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    words = urllib.parse.urlencode({"query": query.replace("$scan", ".*")})
    try:
        with urllib.request.urlopen(f"http://{prometheus}/api/v1/query?{words}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []


def discovery(scan: SmallScan) -> Path:
    """Ray's list of what Prometheus should ask."""
    driver = scan.status()["pid"]
    for pid in (int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        for word in words:
            if parent == driver and (found := re.fullmatch(r"--temp-dir=(.*)", word)):
                return Path(found[1]) / "prom_metrics_service_discovery.json"
    raise AssertionError("no Ray")


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed (apt-get install chromium)")
def test_a_browser_shows_the_actors(scan: SmallScan, tmp_path: Path) -> None:
    token = (scan.run_dir / "ray-token").read_text()
    with with_token(scan.status()["dashboard"].removeprefix("http://"), token) as address:
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000",
                   f"--user-data-dir={tmp_path}/profile", "--dump-dom", f"http://{address}/#/actors"]
        shown = ""

        def look() -> bool:
            nonlocal shown
            shown = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False).stdout
            return all(name in shown for name in ("EvaluatorActor", "TrainerActor", "evaluator-"))

        wait_for(look, lambda: shown)


@contextmanager
def with_token(address: str, token: str) -> Iterator[str]:
    """The dashboard as somebody sees it who has pasted the token: the address of a proxy that adds it."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(f"http://{address}{self.path}",
                                             headers={"Authorization": f"Bearer {token}"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    code, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
            except urllib.error.HTTPError as error:
                code, kind, body = error.code, "text/plain", error.read()
            self.send_response(code)
            self.send_header("Content-Type", kind or "text/plain")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
