"""SLHA programs, good and bad, through a toolchain."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Gauss
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import ChainResult, Toolchain
from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.slha_command import SlhaCommand
from raydnnr.tools.slot import ScratchRoot, Slot

FAKES = Path(__file__).parents[1] / "fakes"
CARD = "Block MINPAR\n 1 m0 # GeV\n 2 0.5*m0 - step\n 3 tanb\n"
PYTHON = (sys.executable, "-S", "-B")
SPACE = ParameterSpace((Parameter.of("m0", low=50, high=2000), Parameter.of("step", low=0, high=2000),
                        Parameter.of("tanb", value=10)))


@pytest.fixture
def slot(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    yield slot
    slot.close()
    root.close()


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.in"
    path.write_text(CARD)
    return path


def tool(card: Path | None, program: str, *words: str, **settings: object) -> SlhaCommand:
    settings = {"name": "spectrum", "template": card, "timeout_s": 20.0, **settings}
    return SlhaCommand(command=(*PYTHON, str(FAKES / program), *words), **settings)


def mh(tool_: SlhaCommand, **address: object) -> Observable:
    source = tool_.address(address or {"block": "MASS", "key": [25]}, "mh")
    return Observable(name="mh", source=source, likelihood=Gauss(mean=125, sigma=1))


def chain(*tools: SlhaCommand, observables: tuple[Observable, ...] | None = None) -> Toolchain:
    return Toolchain(tools, (mh(tools[0]),) if observables is None else observables, Inputs(SPACE))


def evaluate(program: str, slot: Slot, card: Path | None, *words: str, m0: float = 124.0, step: float = 0.0,
             **settings: object) -> ChainResult:
    words = words or ("{input}", "{output}")
    return chain(tool(card, program, *words, **settings)).evaluate(np.array([m0, step]), slot)


def test_a_point_through_a_good_code(slot, card):
    spectrum = tool(card, "good.py", "{input}", "{output}")
    observables = (
        mh(spectrum),
        Observable(name="width", source=spectrum.address({"width": 25}, "width"), likelihood=Gauss(mean=0, sigma=1)),
        Observable(name="bb", source=spectrum.address({"br": [25, -5, 5]}, "bb"), likelihood=Gauss(mean=0, sigma=1)),
    )
    result = chain(spectrum, observables=observables).evaluate(np.array([124.1, 0.0]), slot)

    assert (result.status, result.reason) == (Status.OK, "")
    assert result.values.tolist() == [125.1, 4.1e-3, 0.58]
    assert result.files["spectrum.input.slha"].startswith(b"Block MINPAR\n 1 1.24")
    assert b"1.25100000E+02" in result.files["spectrum.output.slha"]


def test_spinfo_4_is_invalid_with_its_text(slot, card):
    """Though MASS is missing and the exit code is bad: the code said why."""
    result = evaluate("good.py", slot, card, step=-100.0)
    assert (result.status, result.reason) == (Status.INVALID, "spectrum: SPINFO 4: stau tachyon")
    assert np.isnan(result.values).all() and result.files == {}
    result = evaluate("exiting.py", slot, card, "{input}", "{output}", "1", step=-100.0)
    assert (result.status, result.reason) == (Status.INVALID, "spectrum: SPINFO 4: stau tachyon")


def test_nan_in_the_output_is_invalid(slot, tmp_path):
    card = tmp_path / "card.in"
    card.write_text(CARD.replace("tanb", "60"))
    spectrum = tool(card, "good.py", "{input}", "{output}")
    observable = mh(spectrum, block="MASS", key=[1000022])
    result = chain(spectrum, observables=(observable,)).evaluate(np.array([100.0, 0.0]), slot)
    assert (result.status, result.reason) == (Status.INVALID, "mh is nan")


def test_a_number_that_was_cut_is_not_read(slot, card):
    result = evaluate("half.py", slot, card)
    assert (result.status, np.isnan(result.values).all()) == (Status.FAILED, True)
    assert "MASS has no entry [25]; the file ends in the middle of a line: '25  1.25'" in result.reason


@pytest.mark.parametrize(
    ("program", "words", "reason"),
    [
        ("silent.py", (), "exited with code 0 but wrote no output.slha\nlast lines:\ncalculating ...\nall is well"),
        ("rubbish.py", ("{input}", "{output}"), "exited with code 0 but output.slha cannot be read\n"),
        ("huge.py", ("file", "{output}"), "wrote a file larger than max_output_mib = 4"),
        ("huge.py", ("file", "{output}", "die"), "wrote a file larger than max_output_mib = 4"),
        ("huge.py", ("stdout", "die"), "wrote a file larger than max_output_mib = 4"),
        ("crashing.py", ("{input}", "{output}"),
         "died of signal 11 (SIGSEGV)\nlast lines:\ninitialising\naccessing the 7th sneutrino"),
        ("exiting.py", ("{input}", "{output}", "3", "no convergence"),
         "exited with code 3\nlast lines:\nno convergence"),
        ("hanging.py", ("pid",), "timed out after 1.5 s"),
        ("stubborn.py", ("pid",), "timed out after 1.5 s"),
        ("forking.py", ("pid", "wait"), "timed out after 1.5 s"),
        ("forking.py", ("pid", "leave"), "exited with code 0 but wrote no output.slha"),
    ],
)
def test_codes_that_break_are_failed_and_say_how(slot, card, program, words, reason):
    result = evaluate(program, slot, card, *(words or ("x",)), timeout_s=1.5 if "timed out" in reason else 60.0, max_output_mib=4.0)
    python = Path(sys.executable).name
    assert result.status == Status.FAILED
    assert result.reason.startswith(f"spectrum: {python} {reason}")
    assert np.isnan(result.values).all()


def test_the_output_of_the_last_point_is_never_taken_for_this_ones(slot, card):
    assert evaluate("good.py", slot, card).status == Status.OK
    assert evaluate("silent.py", slot, card).status == Status.FAILED


def test_the_output_of_an_earlier_tool_is_never_taken_for_this_ones(slot, card):
    good, silent = tool(card, "good.py", "{input}", "{output}"), tool(card, "silent.py", name="second")
    result = chain(good, silent, observables=(mh(silent),)).evaluate(np.array([124.0, 0.0]), slot)
    assert result.status == Status.FAILED and "wrote no output.slha" in result.reason


def test_exit_codes_and_messages_that_mean_invalid(slot, card):
    words = ("{input}", "{output}", "3", "stau: [ tachyon ] found")
    by_code = evaluate("exiting.py", slot, card, *words, invalid_exit_codes=(2, 3))
    by_text = evaluate("exiting.py", slot, card, *words, invalid_messages=("no vacuum", "[ tachyon ]"))
    by_text_alone = evaluate("exiting.py", slot, card, "{input}", "{output}", "0", "[ tachyon ]",
                             invalid_messages=("[ tachyon ]",))
    exits_1_on_success = evaluate("exiting.py", slot, card, *words, success_exit_codes=(0, 3))

    assert by_code.status == by_text.status == by_text_alone.status == Status.INVALID
    assert by_code.reason.endswith("exited with code 3\nstau: [ tachyon ] found")
    assert by_text.reason == "spectrum: [ tachyon ]\nstau: [ tachyon ] found"
    assert exits_1_on_success.status == Status.OK


def test_a_time_out_is_no_verdict_of_the_physics(slot, card):
    result = evaluate("hanging.py", slot, card, "pid", timeout_s=0.5, invalid_messages=("",))
    assert result.status == Status.FAILED


def test_what_is_missing_may_count_as_invalid(slot, card):
    assert evaluate("silent.py", slot, card, missing="invalid").status == Status.INVALID
    assert evaluate("rubbish.py", slot, card, missing="invalid").status == Status.FAILED
    for missing, status in (("failed", Status.FAILED), ("invalid", Status.INVALID)):
        spectrum = tool(card, "good.py", "{input}", "{output}", missing=missing)
        observable = mh(spectrum, block="MASS", key=[35])
        result = chain(spectrum, observables=(observable,)).evaluate(np.array([124.0, 0.0]), slot)
        assert (result.status, result.reason) == (status, "spectrum: output.slha: block MASS has no entry [35]")


def test_standard_input_and_output(slot, card):
    """As SOFTSUSY is called: ``softpoint.x leshouches < in > out``."""
    spectrum = SlhaCommand(name="spectrum", command=("/bin/cat",), template=card, stdin="{input}", stdout="{output}")
    observable = mh(spectrum, block="MINPAR", key=[1])
    result = chain(spectrum, observables=(observable,)).evaluate(np.array([124.0, 0.0]), slot)
    assert result.values.tolist() == [124.0]


def test_tools_in_a_chain_share_files_and_observables(slot, card, tmp_path):
    second_card = tmp_path / "second.in"
    second_card.write_text("Block MINPAR\n 1 mh * 2\n 2 1.0\n 3 tanb\n")
    first = tool(card, "good.py", "{input}", "{output}")
    editor = SlhaCommand(name="edit", command=("/bin/sed", "-i", "s/5.8E-01/6.0E-01/", "{input}"),
                         input_file="output.slha")
    reader = PythonFunction(name="reader", function="physics:reads_spectrum", path=(str(FAKES),))
    second = tool(second_card, "good.py", "{input}", "{output}", name="second", output_file="second.slha")
    tools = (first, editor, reader, second)
    observables = (
        mh(first), Observable(name="bb", source=editor.address({"br": [25, 5, -5]}, "bb"),
                              likelihood=Gauss(mean=0, sigma=1)),
        Observable(name="again", source=reader.address({"key": "mh"}, "again"), likelihood=Gauss(mean=0, sigma=1)),
        Observable(name="twice", source=second.address({"block": "MASS", "key": [25]}, "twice"),
                   likelihood=Gauss(mean=0, sigma=1)),
    )
    result = Toolchain(tools, observables, Inputs(SPACE)).evaluate(np.array([124.0, 0.0]), slot)
    assert (result.reason, result.values.tolist()) == ("", [125.0, 0.6, 125.0, 251.0])


def test_a_program_that_leaves_its_input_as_it_was_has_failed(slot, card):
    first = tool(card, "good.py", "{input}", "{output}")
    editor = SlhaCommand(name="edit", command=("/bin/true",), input_file="output.slha")
    result = chain(first, editor, observables=(mh(editor),)).evaluate(np.array([124.0, 0.0]), slot)
    assert result.reason == "edit: true exited with code 0 but left output.slha as it was"
    alone = chain(tool(None, "good.py", "{input}", "{output}")).evaluate(np.array([124.0, 0.0]), slot)
    assert (alone.status, alone.reason) == (Status.FAILED, "spectrum: no earlier tool left input.slha")


def test_failed_points_keep_what_explains_them(slot, card):
    result = evaluate("exiting.py", slot, card, "{input}", "{output}", "3", "no convergence", keep_files="failed")
    assert result.files.keys() == {"spectrum.input.slha", "spectrum.output.slha", "spectrum.log"}
    assert result.files["spectrum.log"] == b"no convergence\n"
    assert evaluate("good.py", slot, card, keep_files="failed").files == {}
    assert evaluate("good.py", slot, card, keep_files="none").files == {}
    assert len(evaluate("good.py", slot, card, keep_files="all", step=-100).files) == 3


def test_an_output_that_is_a_pipe_is_not_waited_for(slot, card):
    fifo = SlhaCommand(name="spectrum", command=("/usr/bin/mkfifo", "{output}"), template=card, keep_files="all")
    start = time.monotonic()
    result = chain(fifo).evaluate(np.array([124.0, 0.0]), slot)
    assert "output.slha is not a file" in result.reason and time.monotonic() - start < 30


def test_a_program_that_vanishes_is_a_failure_that_says_so(slot, card, tmp_path):
    program = tmp_path / "code"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    spectrum = SlhaCommand(name="spectrum", command=(str(program), "{input}"), template=card)
    assert "wrote no output" in chain(spectrum).evaluate(np.array([124.0, 0.0]), slot).reason
    program.unlink()
    result = chain(spectrum).evaluate(np.array([124.0, 0.0]), slot)
    assert result.status == Status.FAILED and "cannot run code" in result.reason
    missing = SlhaCommand(name="spectrum", command=("no-such-code", "{input}"), template=card)
    assert "no-such-code is not on the PATH" in chain(missing).evaluate(np.array([124.0, 0.0]), slot).reason


def test_a_point_where_the_template_is_not_finite_is_invalid(slot, tmp_path):
    card = tmp_path / "card.in"
    card.write_text("Block MINPAR\n 1 sqrt(m0 - 200)\n")
    result = evaluate("good.py", slot, card)
    assert (result.status, result.reason) == (Status.INVALID, "spectrum: template: sqrt(m0 - 200) is nan")
