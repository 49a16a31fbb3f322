"""Every kind of tool meets the same suite."""

from __future__ import annotations

import json
import shutil
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import cloudpickle
import pytest

from raydnnr.errors import ConfigError
from raydnnr.evaluation import Status
from raydnnr.kinds import build
from raydnnr.references import ENTRIES
from raydnnr.tools.base import Tool, VectorizedTool
from raydnnr.tools.kinds import KINDS
from raydnnr.tools.python_function import PythonFunction, PythonSource
from raydnnr.tools.slha_command import SlhaCommand
from raydnnr.tools.slot import ScratchRoot, Slot

CARD = "Block MINPAR\n 1 m0\n 3 tanb\n"


@pytest.fixture
def settings(tmp_path):
    """Settings of each kind, as a file in ``tmp_path`` would hold them, and an address of an observable."""
    (tmp_path / "card.in").write_text(CARD)
    (tmp_path / "card.txt").write_text("m0 {{ m0 }}\ntanb {{ tanb }}\n")
    (tmp_path / "Lilith-2").mkdir()
    (tmp_path / "susyhit.in").write_text("* whose spectrum\n2\n")
    return {
        "slha": {"name": "spectrum", "command": ["./code", "{input}", "{output}"], "template": "card.in",
                 "conditions": ["mh > 100"], "timeout_s": 60, "environment": {"OMP_NUM_THREADS": 2}},
        "python": {"name": "mine", "function": "mymodel:observables", "vectorized": True, "memory_limit_gib": 2},
        "fit": {"name": "ewsb", "solve": {"mu": {"low": 100, "high": 2000}},
                "targets": {"mZ": {"value": 91.19, "tolerance": 0.01}}},
        "command": {"name": "relic", "command": ["./code", "{m0}", "{input}"], "template": "card.txt"},
        "spheno": {"name": "spectrum", "program": "./SPheno", "template": "card.in"},
        "softsusy": {"name": "spectrum", "program": "./softpoint.x", "template": "card.in",
                     "invalid_warnings": ["LSP"]},
        "flexiblesusy": {"name": "spectrum", "program": "./run_CMSSM.x", "template": "card.in"},
        "gm2calc": {"name": "gm2", "program": "gm2calc.x"},
        "superiso": {"name": "flavour", "program": "./slha.x", "input_file": "output.slha"},
        "micromegas": {"name": "relic", "program": "./main", "template": "card.txt", "input_file": "data.par"},
        "flavio": {"name": "flavio", "coefficients": {"C9_bsmumu": "m0 / 1e3"}, "scale": 4.8},
        "lilith": {"name": "higgs", "folder": "Lilith-2", "template": "card.txt"},
        "susyhit": {"name": "decays", "program": "./run", "options": "susyhit.in"},
        "smodels": {"name": "lhc", "database": "./smodels-database", "particles": "nmssm"},
        "2hdmc": {"name": "thdm", "program": "./CalcPhys", "parameters": ["m0", 300, "tanb"]},
        "nmssmtools": {"name": "spectrum", "program": "./nmhdecay", "template": "card.in", "data": "EXPCON"},
        "higgstools": {"name": "higgs", "signals": "./hsdataset", "neutral": [25, 35], "charged": [37]},
        "vacuum": {"name": "vacuum", "potential": "(h**2 - 1)**2 + m0 * h**2", "fields": {"h": "sqrt(1 - m0 / 2)"}},
        "anybsm": {"name": "hhh", "model": "ufo/THDM", "parameters": {"MH": "m0", "TB": "tanb"}},
    }


ADDRESSES = {
    "slha": {"tool": "spectrum", "block": "MASS", "key": [25]}, "python": {"tool": "mine"},
    "fit": {"tool": "ewsb", "key": "mu"},
    "command": {"tool": "relic", "pattern": r"omega = (\S+)"},
    "spheno": {"tool": "spectrum", "block": "MASS", "key": [25]},
    "softsusy": {"tool": "spectrum", "block": "MASS", "key": [25]},
    "flexiblesusy": {"tool": "spectrum", "block": "MASS", "key": [25]},
    "gm2calc": {"tool": "gm2", "block": "GM2CalcOutput", "key": [0]},
    "superiso": {"tool": "flavour", "quantity": "BR(b->s gamma)"},
    "micromegas": {"tool": "relic", "quantity": "omega"},
    "flavio": {"tool": "flavio", "prediction": "BR(Bs->mumu)"},
    "lilith": {"tool": "higgs", "key": "minus_2_log_l"},
    "susyhit": {"tool": "decays", "br": [25, 5, -5]},
    "smodels": {"tool": "lhc", "key": "r"},
    "2hdmc": {"tool": "thdm", "block": "THDM", "key": [4]},
    "nmssmtools": {"tool": "spectrum", "block": "MASS", "key": [45]},
    "higgstools": {"tool": "higgs", "key": "obs_ratio"},
    "vacuum": {"tool": "vacuum", "key": "action"},
    "anybsm": {"tool": "hhh", "key": "lambda_hhh"},
}


def make(kind: str, settings: dict, folder: Path) -> Tool:
    return build(KINDS[kind], KINDS[kind].resolve(settings[kind], folder), f"[tools.{kind}]")


def test_no_kind_dodges_this_suite(settings):
    assert settings.keys() == ADDRESSES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_tools_are_frozen_hashable_and_travel_without_their_files(kind, settings, tmp_path):
    tool = make(kind, settings, tmp_path)
    parcel = cloudpickle.dumps(tool)
    shutil.rmtree(tmp_path)

    assert cloudpickle.loads(parcel) == tool
    assert len({tool, cloudpickle.loads(parcel)}) == 1
    with pytest.raises(FrozenInstanceError):
        tool.name = "other"


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprints_are_json_and_do_not_know_the_machine(kind, settings, tmp_path):
    tool = make(kind, settings, tmp_path)
    other = tmp_path / "copied"
    other.mkdir()
    for card in ("card.in", "card.txt", "susyhit.in"):
        (other / card).write_text((tmp_path / card).read_text())
    (other / "Lilith-2").mkdir()
    quick = {kind: {**settings[kind], "timeout_s": 1}}

    assert json.loads(json.dumps(tool.fingerprint())) == make(kind, quick, other).fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_addresses(kind, settings, tmp_path):
    tool = make(kind, settings, tmp_path)
    source = tool.address(ADDRESSES[kind], "mh")
    assert source.tool == tool.name
    assert source == tool.address(dict(ADDRESSES[kind]), "mh") and hash(source)
    assert repr(tmp_path) not in repr(source)
    with pytest.raises(ConfigError, match="observables.mh.from: no setting '[a-z]+y'.*Did you mean '[a-z]+'"):
        tool.address({**ADDRESSES[kind], f"{list(ADDRESSES[kind])[-1]}y": 1}, "mh")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_is_written_to_a_file_and_read_again(kind, settings, tmp_path):
    tool = make(kind, settings, tmp_path)
    source = tool.address(ADDRESSES[kind], "mh")
    own = {f.name: getattr(source, f.name) for f in fields(source)}
    assert tool.address({key: value for key, value in own.items() if value is not None}, "mh") == source


@pytest.mark.parametrize("kind", KINDS)
def test_what_to_cite_is_known(kind):
    assert set(KINDS[kind].citations) <= ENTRIES.keys()
    assert KINDS[kind].citations or kind in {"slha", "command", "python"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fit"])  # its tools have their own
def test_variables_and_run_if_are_settings_of_every_kind(kind, settings, tmp_path):
    plain = make(kind, settings, tmp_path).fingerprint()
    settings[kind] |= {"environment": {"A_PATH": "/data", "N": 2}, "run_if": "m0 > 7"}
    tool = make(kind, settings, tmp_path)
    assert tool.environment == {"A_PATH": "/data", "N": "2"} and tool.run_if.text == "m0 > 7"
    assert tool.fingerprint() != plain
    for bad in ({"A": True}, {"A": [1]}, {"": "x"}, {"A=B": "x"}, {"A": "x\0"}):
        settings[kind]["environment"] = bad
        with pytest.raises(ConfigError, match="environment"):
            make(kind, settings, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented(kind):
    text = "".join(c.__doc__ or "" for c in KINDS[kind].__mro__)
    assert not [f.name for f in fields(KINDS[kind]) if f.init and f.name not in text]


def test_what_python_tools_are_addressed_by():
    tool = PythonFunction(name="mine", function="m:f")
    assert tool.address({"tool": "mine"}, "mh") == PythonSource("mine", "mh")
    assert tool.address({"key": "Mh"}, "mh") == PythonSource("mine", "Mh")
    with pytest.raises(ConfigError, match="key: got 3"):
        tool.address({"key": 3}, "mh")


def test_what_tools_use(settings, tmp_path):
    assert make("slha", settings, tmp_path).uses(["m0", "m12", "tanb"]) == {"m0", "tanb"}
    assert make("python", settings, tmp_path).uses(["m0", "m12"]) == {"m0", "m12"}


def test_lists_are_taken_for_tuples_and_texts_for_paths_but_not_texts_for_lists(tmp_path):
    (tmp_path / "card.in").write_text(CARD)
    tool = SlhaCommand(name="s", command=["code", "{input}"], template=str(tmp_path / "card.in"))
    assert (tool.command, tool.template) == (("code", "{input}"), tmp_path / "card.in")
    with pytest.raises(ConfigError, match="command: got 'code'; use a list"):
        SlhaCommand(name="s", command="code")


def test_only_python_functions_are_vectorized(settings, tmp_path):
    assert isinstance(make("python", settings, tmp_path), VectorizedTool)
    assert not isinstance(make("slha", settings, tmp_path), VectorizedTool)


def test_paths_are_relative_to_the_folder_of_the_file(settings, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    slha, python = make("slha", settings, tmp_path), make("python", settings, tmp_path)
    assert slha.command[0] == str(tmp_path / "code")
    assert python.path == (str(tmp_path),)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"command": []}, "command"),
        ({"command": "code {input}"}, "command: got"),
        ({"command": ["code", "{ouput}"]}, "Did you mean 'output'"),
        ({"command": ["code", "a\0b"]}, "command"),
        ({"template": "nothing.in"}, "template: cannot read .*nothing.in"),
        ({"input_file": "../input"}, "input_file: got '../input'"),
        ({"output_file": "/etc/passwd"}, "output_file"),
        ({"output_file": ""}, "output_file"),
        ({"stdout": "{outputs}"}, "Did you mean 'output'"),
        ({"missing": "ignore"}, "use one of failed, invalid"),
        ({"keep_files": "goood"}, "Did you mean 'good'"),
        ({"max_output_mib": 0}, "max_output_mib"),
        ({"exit_codes": [0]}, "no setting 'exit_codes'"),
        ({"success_exit_codes": "0"}, "success_exit_codes"),
    ],
)
def test_slha_settings_are_checked(changes, complaint, settings, tmp_path):
    settings["slha"] |= changes
    with pytest.raises(ConfigError, match=complaint):
        make("slha", settings, tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"function": "mymodel.observables"}, "use 'module:function'"),
        ({"function": 3}, "function"),
        ({"vectorized": 1}, "vectorized"),
        ({"path": "folder"}, "path"),
    ],
)
def test_python_settings_are_checked(changes, complaint, settings, tmp_path):
    settings["python"] |= changes
    with pytest.raises(ConfigError, match=complaint):
        make("python", settings, tmp_path)


def test_a_template_with_an_unknown_name_is_refused_with_its_line(settings, tmp_path):
    tool = make("slha", settings, tmp_path)
    tool.prepare(["m0", "tanb"])
    with pytest.raises(ConfigError, match=r"tools.spectrum.template: .*card.in:3: 'tanb'.*Did you mean 'tanbeta'"):
        tool.prepare(["m0", "tanbeta"])


def test_a_program_that_is_not_there_is_named_with_where_it_was_looked_for(settings, tmp_path, monkeypatch):
    assert make("slha", settings, tmp_path).check() == [f"the program {tmp_path}/code does not exist"]
    (tmp_path / "code").write_text("")
    assert "is not an executable file" in make("slha", settings, tmp_path).check()[0]
    (tmp_path / "code").chmod(0o755)
    assert make("slha", settings, tmp_path).check() == []

    monkeypatch.setenv("PATH", str(tmp_path))
    assert SlhaCommand(name="s", command=("code",)).check() == []
    problem = SlhaCommand(name="s", command=("kode",)).check()[0]
    assert "kode is not on the PATH" in problem and str(tmp_path) in problem
    elsewhere = SlhaCommand(name="s", command=("code",), environment={"PATH": "/nowhere"})
    assert "looked in /nowhere" in elsewhere.check()[0]


@pytest.mark.parametrize(
    ("keep", "kept"), [("good", {Status.OK}), ("failed", {Status.FAILED}), ("all", set(Status)), ("none", set())]
)
def test_which_files_are_kept(keep, kept):
    tool = SlhaCommand(name="s", command=("code",), keep_files=keep)
    assert {status for status in Status if tool.keeps(status)} == kept
    assert tool.keeps(None) == bool(kept)


def test_the_code_of_a_function_is_part_of_the_physics(tmp_path):
    """Comments are not; a module is never imported for this."""
    def fingerprint(text: str) -> object:
        (tmp_path / "mymodel.py").write_text(text)
        return PythonFunction(name="m", function="mymodel:f", path=(str(tmp_path),)).fingerprint()

    before = fingerprint("raise SystemExit\ndef f(p):\n    return {'a': 1}\n")
    assert fingerprint("# new\nraise SystemExit\n\ndef f(p):\n    # old\n    return {'a': 1}  \n") == before
    assert fingerprint("raise SystemExit\ndef f(p):\n    return {'a': 2}\n") != before
    assert PythonFunction(name="m", function="no_such_module:f").fingerprint()["source"] is None
    assert PythonFunction(name="m", function=fingerprint).fingerprint()["source"] is not None


def test_a_template_is_part_of_the_physics(settings, tmp_path):
    before = make("slha", settings, tmp_path).fingerprint()
    (tmp_path / "card.in").write_text(CARD + " 4 1\n")
    assert make("slha", settings, tmp_path).fingerprint() != before


def test_a_large_file_is_not_kept(tmp_path):
    """A run directory does not grow without end because a code writes much."""
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    try:
        (slot.scratch / "input.slha").write_bytes(b"x" * 1000)
        (slot.scratch / "output.slha").write_bytes(b"x" * 3000)
        kept = [SlhaCommand(name="s", command=("code",), keep_max_mib=n * 1000 / 2**20).files(slot) for n in (0.5, 2, 4)]
        assert [sorted(files) for files in kept] == [[], ["s.input.slha"], ["s.input.slha", "s.output.slha"]]
    finally:
        slot.close()
        root.close()
