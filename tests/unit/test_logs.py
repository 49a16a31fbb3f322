"""Words on stderr and in a file: a scan does not depend on anybody listening."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from raydnnr import logs

LOGGER = logging.getLogger("raydnnr")


class Closed(io.StringIO):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(autouse=True)
def _handlers(monkeypatch):
    monkeypatch.setattr(LOGGER, "handlers", [])


def test_warnings_are_shown_once_and_where_stderr_is_now(capsys):
    logs.show_warnings()
    logs.show_warnings()
    LOGGER.getChild("store").warning("nearly full")
    LOGGER.info("not for people")
    assert capsys.readouterr().err == "WARNING: nearly full\n"
    # pytest puts another file in the place of stderr after each readouterr
    LOGGER.warning("full")
    assert capsys.readouterr().err == "WARNING: full\n"


def test_the_display_in_the_place_of_stderr_gets_the_warnings(monkeypatch):
    logs.show_warnings()
    display = io.StringIO()
    monkeypatch.setattr(sys, "stderr", display)
    LOGGER.warning("nearly full")
    assert display.getvalue() == "WARNING: nearly full\n"


def test_what_nobody_hears_is_no_failure(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Closed())
    logs.say("hello")
    LOGGER.addHandler(logs.Warnings())
    LOGGER.warning("nearly full")


def test_a_pipe_that_is_closed_changes_no_exit_status():
    code = "import time; time.sleep(0.3)\nfrom raydnnr.logs import say\nsay('a'); say('b'); print('done')"
    with subprocess.Popen([sys.executable, "-c", code], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stderr.close()
        assert process.stdout.read() == "done\n"
        assert process.wait(timeout=30) == 0


def test_a_log_file_lasts_as_long_as_its_context(tmp_path):
    before = LOGGER.level
    with logs.log_file(tmp_path / "scan.log"):
        LOGGER.getChild("scan").info("iteration 3: é")
    LOGGER.warning("too late")
    (line,) = (tmp_path / "scan.log").read_text("utf-8").splitlines()
    assert line.endswith("INFO raydnnr.scan: iteration 3: é")
    assert LOGGER.level == before
