"""Commands of any kind: what is filled in, and what is read from what they print."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.errors import ConfigError, InvalidPoint
from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Off
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools import text_template
from raydnnr.tools.base import Toolchain
from raydnnr.tools.slot import ScratchRoot, Slot
from raydnnr.tools.text_address import NotThere, parse_address
from raydnnr.tools.text_command import TextCommand
from tests.unit.strategies import finite

TEXT = """\
Omega h2 = 0.1189  (freeze-out)
 iteration 1: chi2 = 14.2
 iteration 2: chi2 = 1.0D+01

proton 1.615E-09 neutron NaN
"""
JSON = json.dumps({"relic": [{"omega": 0.1189, "n": 3}], "ok": True, "sigma": "1.6e-9", "none": None})
CSV = "m, omega\n 100, 0.1\n 200, 0.2\n"


def value(text: str, **settings: object) -> float:
    return parse_address(settings, "t", "observables.o.from").value(text)


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        (TEXT, {"pattern": r"Omega h2 = (\S+)"}, 0.1189),
        (TEXT, {"pattern": r"chi2 = (\S+)$", "match": "first"}, 14.2),
        (TEXT, {"pattern": r"chi2 = (\S+)$", "match": "last"}, 10.0),
        (TEXT, {"pattern": r"^proton (\S+)"}, 1.615e-9),
        (TEXT, {"line": 1, "column": 4}, 0.1189),
        (TEXT, {"line": -1, "column": 2}, 1.615e-9),
        (TEXT, {"line": 3, "column": -1}, 10.0),
        (TEXT, {"line": 4, "column": 4}, np.nan),
        (JSON, {"json": ["relic", 0, "omega"]}, 0.1189),
        (JSON, {"json": ["sigma"]}, 1.6e-9),
        (JSON, {"json": "sigma"}, 1.6e-9),
        ('{"x": NaN}', {"json": ["x"]}, np.nan),
        (CSV, {"csv": "omega", "row": 1}, 0.1),
        (CSV, {"csv": "omega", "row": -1}, 0.2),
        ("a;b\n1;2\n", {"csv": "b", "delimiter": ";"}, 2.0),
    ],
)
def test_numbers_are_found(text, settings, expected):
    np.testing.assert_equal(value(text, **settings), expected)


@pytest.mark.parametrize(
    ("text", "settings", "complaint"),
    [
        (TEXT, {"pattern": r"omega = (\S+)"}, "nothing matches"),
        (TEXT, {"pattern": r"chi2 = (\S+)"}, "matches 2 times; set match"),
        (TEXT, {"pattern": r"Omega (h2)"}, "'h2' is not a number"),
        (TEXT, {"pattern": r"proton|x(\d)"}, "took no part"),
        (TEXT, {"line": 9, "column": 1}, "there are 4 lines, number 9"),
        (TEXT, {"line": 1, "column": 9}, "words in line 1"),
        (JSON, {"json": ["relic", 1]}, "nothing at 1"),
        (JSON, {"json": ["relik"]}, "Did you mean 'relic'"),
        (JSON, {"json": ["ok"]}, "has a bool"),
        (JSON, {"json": ["none"]}, "has a NoneType"),
        (TEXT, {"json": ["x"]}, "not JSON"),
        ("[" * 100_000, {"json": ["x"]}, "not JSON"),
        (CSV, {"csv": "omega"}, "2 rows; say which"),
        (CSV, {"csv": "omga", "row": 1}, "0 columns named 'omga'.*Did you mean"),
        (CSV, {"csv": "m", "row": 3}, "2 rows of CSV"),
        ("a,a\n1,2\n", {"csv": "a"}, "2 columns"),
        ("a,b\n1\n", {"csv": "a"}, "1 fields in a row, and 2"),
        ("", {"csv": "a"}, "without a header"),
    ],
)
def test_nothing_is_guessed(text, settings, complaint):
    with pytest.raises(NotThere, match=complaint):
        value(text, **settings)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"patern": "x"}, "no setting 'patern' for a command.*Did you mean 'pattern'"),
        ({}, "give pattern"),
        ({"pattern": r"(\d)", "json": ["a"]}, "give pattern"),
        ({"pattern": "x"}, "has no group"),
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": r"(\d)", "match": "any"}, "match: got 'any'"),
        ({"pattern": r"(\d)", "row": 1}, "'row' does not go with 'pattern'"),
        ({"line": 1}, "'line' goes with 'column'"),
        ({"line": 0, "column": 1}, "line: got 0"),
        ({"csv": "a", "row": True}, "row: got True; use a whole number"),
        ({"json": []}, "use a list of keys"),
        ({"csv": "a", "delimiter": ""}, "one character"),
    ],
)
def test_addresses_are_checked(settings, complaint):
    with pytest.raises(ConfigError, match=f"observables.o.from.*{complaint}"):
        parse_address(settings, "t", "observables.o.from")


@given(finite)
def test_a_number_that_is_filled_in_is_the_number(x):
    assert float(text_template.fill("{{ x }}", {"x": x})) == x
    assert float(text_template.fill_argument("--x={x}", {"x": x}).removeprefix("--x=")) == x


@given(st.text())
def test_a_text_without_braces_stays(text):
    assert text_template.fill(text.replace("{{", ""), {}) == text.replace("{{", "")


def test_what_is_wrong_in_a_template_is_named_with_its_line():
    with pytest.raises(ConfigError, match="line 2: "):
        text_template.expressions("a\n{{ __import__('os') }}")
    with pytest.raises(ConfigError, match=r"card.*'tanb'.*Did you mean 'tanbeta'"):
        text_template.check("{{ tanb }}", ["tanbeta"], "card")
    with pytest.raises(InvalidPoint, match="template: 1/x is inf"):
        text_template.fill("{{ 1/x }}", {"x": 0.0})


@pytest.fixture
def slot(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    yield slot
    slot.close()
    root.close()


def run(tool: TextCommand, slot: Slot, address: dict[str, object], x: float = 0.25):
    inputs = Inputs(ParameterSpace((Parameter.of("x", low=0, high=1),)), {})
    chain = Toolchain((tool,), (Observable(name="y", source=tool.address(address, "y"), likelihood=Off()),), inputs)
    return chain.evaluate(np.array([x]), slot)


def python(program: str, *words: str, **settings: object) -> TextCommand:
    return TextCommand(name="t", command=(sys.executable, "-c", program, *words), **settings)  # type: ignore[arg-type]


def test_arguments_and_a_template_are_filled_and_files_are_read(slot, tmp_path):
    card = tmp_path / "card.json"
    card.write_text('{"x": {{ 2*x }}}')
    program = ("import json, sys; x = json.load(open(sys.argv[1]))['x']; print('sum =', x + float(sys.argv[2]))\n"
               "json.dump([x], open('out.json', 'w'))")
    tool = python(program.replace("{", "(").replace("}", ")"), "{input}", "{x + 1}", template=card)
    assert run(tool, slot, {"pattern": r"sum = (\S+)"}).values.tolist() == [1.75]
    assert run(tool, slot, {"json": [0], "file": "out.json"}).values.tolist() == [0.5]
    assert tool.uses(["x", "z"]) == {"x"}


@pytest.mark.parametrize(
    ("program", "settings", "status", "reason"),
    [
        ("print('y = nan')", {}, Status.OK, ""),  # NaN is a number; it is invalid where a likelihood wants it
        ("print('z = 1')", {}, Status.FAILED, "t: stdout.txt: nothing matches"),
        ("print('z = 1')", {"missing": "invalid"}, Status.INVALID, "t: stdout.txt: nothing matches"),
        ("raise SystemExit(3)", {}, Status.FAILED, "exited with code 3"),
        ("raise SystemExit(3)", {"invalid_exit_codes": (3,)}, Status.INVALID, "exited with code 3"),
        ("print('wrong card'); raise SystemExit(3)", {}, Status.FAILED, "exited with code 3\nlast lines:\nwrong card"),
        ("print('no minimum'); raise SystemExit(3)", {"invalid_exit_codes": (3,)}, Status.INVALID,
         "exited with code 3\nno minimum"),
        ("print('y = 1: no convergence')", {"invalid_messages": ("no convergence",)}, Status.INVALID, "no convergence"),
        ("print('y = 1')", {"output_file": "other.txt"}, Status.FAILED, "wrote no other.txt"),
    ],
)
def test_how_a_command_ends(program, settings, status, reason, slot):
    result = run(python(program, **settings), slot, {"pattern": r"y = (\S+)"})
    assert result.status == status and reason in result.reason


def test_names_in_commands_are_checked():
    with pytest.raises(ConfigError, match="command: .*not an expression"):
        TextCommand(name="t", command=("code", "--m={1 +}"))
    with pytest.raises(ConfigError, match=r"tools.t.command.*'m0'"):
        TextCommand(name="t", command=("code", "--m={m0}")).prepare(["m12"])
    with pytest.raises(ConfigError, match="file: got '../x'"):
        TextCommand(name="t", command=("code",)).address({"line": 1, "column": 1, "file": "../x"}, "o")
