"""From BSMArt, whole files: JSON to a configuration that can be run, CSV to tables that can be read."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raydnnr.bsmart.importer import Imported, import_bsmart, write
from raydnnr.bsmart.report import Kind
from raydnnr.bsmart.scans import SCANS, nearest
from raydnnr.bsmart.tables import evaluations, read_run
from raydnnr.bsmart.toys import nothing
from raydnnr.cli import main
from raydnnr.config import load
from raydnnr.errors import ConfigError
from raydnnr.likelihoods import Gauss, get_losses
from raydnnr.search.methods import KINDS
from raydnnr.seeds import read_seeds
from raydnnr.tools.flavio import Difference

CARD = "Block MODSEL\n 1 1\nBlock MINPAR\n 1 m0\n 2 VARIABLE[1]\n 3 math.exp(mix)\n"
SPHENO = {"Run": "True", "Command": "/opt/SPheno", "InputFile": "LesHouches.in", "OutputFile": "SPheno.spc",
          "Observables": {"mh": {"SLHA": ["MASS", [25]], "SCALING": "GAUSS", "MEAN": 125.0, "VARIANCE": 3.0,
                                 "VALID": [100, 140]}}}


def scan(**changes: object) -> dict:
    """A file; ``Setup_x`` lays ``x`` over its Setup."""
    setup = {"RunName": "mine", "Type": "MLScanner.MLS_DNNR", "Cores": 2, "Points": 10}
    setup |= {k.removeprefix("Setup_").replace("__", " "): v for k, v in changes.items() if k.startswith("Setup_")}
    others = {k.replace("_", " "): v for k, v in changes.items() if not k.startswith("Setup_")}
    return {"Setup": setup, "Codes": {"SPheno": SPHENO}, "Networks": {},
            "Variables": {"m0": {"RANGE": [100, 3000]}, "m12": {"RANGE": [100, 2000], "PRIOR": "LOG"}}, **others}


@pytest.fixture
def imported(tmp_path):
    """Import a file; its template is there."""
    (tmp_path / "LesHouches.in").write_text(CARD)

    def run(content: dict) -> Imported:
        path = tmp_path / "scan.json"
        path.write_text(json.dumps(content))
        return import_bsmart(path, tmp_path / "scan.toml")

    return run


def wheres(result: Imported, kind: Kind) -> set[str]:
    return {f.where for f in result.report.findings if f.kind is kind}


def check(path: Path, *words: str) -> int:
    return main(["import-bsmart", str(path), *words])


def test_a_file_becomes_a_configuration_that_loads(tmp_path, imported, capsys):
    imported(scan(Derived_Variables={"mix": "math.sqrt(m0)/100"}))
    assert check(tmp_path / "scan.json") == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/scan.toml\n"
    assert "still missing: tools.SPheno: the program /opt/SPheno does not exist" in err

    plan = load(tmp_path / "scan.toml")
    assert (plan.name, plan.stop.points, plan.stop.iterations, plan.cluster.slots) == ("mine", 10, 0, 2)
    assert [p.name for p in plan.parameters] == ["m0", "m12"] and list(plan.derived) == ["mix"]
    assert plan.tools[0].template_text == CARD.replace("VARIABLE[1]", "m12").replace("math.", "")
    assert plan.observables[0].valid == (100.0, 140.0)
    assert check(tmp_path / "scan.json") == 2, "files that are there stay"
    assert check(tmp_path / "scan.json", "--force") == 0
    assert check(tmp_path / "scan.json", "-o", str(tmp_path / "x.json")) == 2


def test_a_whole_chain(imported, tmp_path):
    codes = {
        "SPheno": {**SPHENO, "Conditions": ["mh > 110 and m0 > 0"]},
        "MicrOmegas": {"Run": "True", "Command": "~/mo/main", "InputFile": "SPheno.other", "Cross-sections": "True",
                       "LSP": [1000022, 1000012], "DD_Limits": "False",
                       "Observables": {"Oh2": {"SLHA": ["DARKMATTER", [1]], "SCALING": "UPPER", "MEAN": 0.12,
                                               "VARIANCE": 0.01}}},
        "VacStab": {"Run": "True", "Command": "python3 /opt/vac.py", "InputFile": "SPheno.other"},
        "ZPEED": {"Run": "True", "Neutral Higgs": [25], "Charged Higgs": [37], "evil": "\"\"\"\nimport os\n#",
                  "Observables": {"HS": {"SLHA": ["ZPEED", [1]], "SCALING": "USER"}}},
        "flavio": {"Run": "False", "Observables": {"BR(B->X)": {}}},
    }
    seen = {"BRbb": {"SLHA": ["BR", [25, [5, -5]]]}, "Gh": {"SLHA": ["WIDTH", [25]]},
            "vac": {"SLHA": ["VACUUMSTABILITY", [1]], "SCALING": "USER"},
            "late": {"FUNCTION": "mh + Oh2*VARIABLE[0]"}, "lost": {"SLHA": ["HIGGSCOUPLINGSBOSONS", [25, 24]]},
            "after lost": {"FUNCTION": "lost * 2"}, "mh": {"SLHA": ["MASS", [35]]}}
    result = imported(scan(Codes=codes, Observables=seen, Setup_StoreAllPoints="True", Derived_Variables={"mix": "m0"},
                           **{"Setup_Environment__Variables": {"LHAPDF": "/x"}}))
    tools = {tool["name"]: tool for tool in result.config["tools"]}
    assert list(tools) == ["SPheno", "MicrOmegas", "VacStab", "ZPEED"]
    assert tools["SPheno"]["output_file"] == "SPheno.other" and tools["SPheno"]["conditions"] == ["mh > 110 and m0 > 0"]
    assert tools["MicrOmegas"]["command"] == ["~/mo/main", "--xsections"]
    assert tools["MicrOmegas"]["conditions"] == ["lsp_pdg == 1000022 or lsp_pdg == 1000012"]
    assert tools["MicrOmegas"]["environment"] == {"LHAPDF": "/x", "nParProc": "0"}
    assert {tool.get("keep_files", "good") for tool in tools.values()} == {"good", "none"}

    o = result.config["observables"]
    assert "lost" not in o and "after_lost" not in o and "BR_B_X" not in o
    assert o["mh"]["from"]["key"] == [25], "the one of a code takes the place of the global one"
    assert o["BRbb"]["from"] == {"tool": "SPheno", "br": [25, 5, -5]} and o["Gh"]["from"]["width"] == 25
    assert o["vac"]["from"]["tool"] == "VacStab" and o["HS"]["from"] == {"tool": "ZPEED"}
    assert list(o)[-1] == "late" and o["late"]["expression"] == "mh + Oh2 * m0"

    stubs = result.files["scan_tools.py"].decode()
    compile(stubs, "scan_tools.py", "exec")
    assert "\nimport os" not in stubs and '# "Neutral Higgs": [25]' in stubs
    assert {"Codes.ZPEED", "Observables.lost.SLHA", "observable after_lost"} <= wheres(result, Kind.TO_DO)
    assert check(tmp_path / "scan.json") == 0
    assert [t.name for t in load(tmp_path / "scan.toml").tools] == list(tools)


def test_higgstools_and_anybsm_are_tools_of_ours(imported, tmp_path):
    codes = {
        "SPheno": SPHENO,
        "HiggsTools": {"Run": "True", "HiggsBounds Dataset": "/d/hb", "HiggsSignals Dataset": "hs",
                       "Neutral Higgs": [25, 35], "Charged Higgs": [37], "Signal Strengths": "True",
                       "Observables": {"HB": {"SLHA": ["HIGGSTOOLS", [2]], "VALID": [0, 1]},
                                       "HS": {"SLHA": ["HIGGSTOOLS", [13]], "SCALING": "USER"},
                                       "H2": {"SLHA": ["HIGGSTOOLS", [35]]}, "no": {"SLHA": ["HIGGSTOOLS", [3]]}}},
        "anyBSM": {"Run": "True", "model": "THDMII", "settings": {"scheme_name": "OS", "quiet": "True", "caching": 0},
                   "setparameters": {"Mh2": "math.sqrt(m0)", "TanBeta": "m12/100", "bad": "__import__('os')"},
                   "Observables": {"kap": {"SLHA": ["ANYBSM", [3]], "VALID": [-0.2, 6.3]}}},
    }
    result = imported(scan(Codes=codes, Derived_Variables={"mix": "m0"}))
    tools, o = {tool["name"]: tool for tool in result.config["tools"]}, result.config["observables"]
    higgs, trilinear = tools["HiggsTools"], tools["anyBSM"]
    assert (higgs["bounds"], higgs["signals"]) == ("/d/hb", str(tmp_path / "hs"))
    assert (higgs["neutral"], higgs["charged"], higgs["mass_uncertainty_gev"]) == ([25, 35], [37], 3.0)
    assert higgs["input_file"] == tools["SPheno"]["output_file"]
    assert [o[name]["from"]["key"] for name in ("HB", "HS", "H2", "kap")] == [
        "obs_ratio", "p_value", "obs_ratio_35", "kappa_lambda"]
    assert "no" not in o
    assert (trilinear["model"], trilinear["scheme"]) == ("THDMII", "OS")
    assert trilinear["parameters"] == {"Mh2": "sqrt(m0)", "TanBeta": "m12 / 100"}
    assert {"Codes.anyBSM.settings.caching", "Codes.anyBSM", "Codes.HiggsTools.Signal Strengths"} <= wheres(
        result, Kind.DIFFERENT)
    assert "Codes.anyBSM.setparameters.bad" in wheres(result, Kind.TO_DO)
    assert check(tmp_path / "scan.json") == 0
    assert [t.name for t in load(tmp_path / "scan.toml").tools] == list(tools)


def test_functions_that_someone_has_written_stay(imported, tmp_path):
    imported(scan(Codes={"mytool": {"Run": True, "InputFile": "LesHouches.in", "Observables": {"y": {"SLHA": ["A", [1]]}}}}))
    (tmp_path / "scan_tools.py").write_text("def mytool(point):\n    return {'y': 1.0}\n")
    assert check(tmp_path / "scan.json") == 0
    assert "return {'y': 1.0}" in (tmp_path / "scan_tools.py").read_text()


def test_settings_of_the_original_scan_keep_their_values(imported):
    networks = {"Candidate_Points": "1e3", "Bootstrap_Points": 50, "Points_Per_Iteration": 30, "Threshold_Value": 2.5,
                "Random_Fraction": 0.1, "Batch Size": 64, "Neurons": 20, "Epochs": 30, "LearningRate": 1e-3,
                "Verbose": 1, "Iterations": 7, "Kinitial": 5}
    result = imported(scan(Networks=networks))
    assert result.config["search"] == {
        "method": "mls_dnnr", "candidate_points": 1000, "bootstrap_points": 50, "points_per_iteration": 30,
        "random_fraction": 0.1, "batch_size": 64, "neurons": 20, "epochs": 30, "learning_rate": 1e-3, "verbose": 1}
    assert result.config["scan"] == {"name": "mine", "points": 10, "iterations": 7, "threshold_value": 2.5}
    assert "Networks.Kinitial" in wheres(result, Kind.LEFT_OUT)


@pytest.mark.parametrize("word", [*SCANS, "MLScanner.MLS_GBR", "MyOwn", ""])
def test_every_scan_becomes_one_that_ends(word, imported, tmp_path):
    result = imported(scan(Setup_Type=word, Derived_Variables={"mix": "1"}))
    method = result.config["search"]["method"]
    assert method in KINDS and method == nearest(word.removeprefix("MLScanner."))
    stop = result.config["scan"]
    assert stop["points"] > 0 or stop["max_evaluations"] > 0
    assert word == "Random" or any(where == "Setup.Type" for f in Kind for where in wheres(result, f)), "say it aloud"
    assert check(tmp_path / "scan.json") == 0
    load(tmp_path / "scan.toml")


@pytest.mark.parametrize(("changes", "evaluations"), [
    ({"Setup_Type": "Random", "Setup_Points": 77}, 77), ({"Setup_Type": "MLS", "Setup_Iterations": 3}, 30),
    ({"Setup_Type": "AffineMC", "Setup_Steps": 5, "Setup_Walkers": "8"}, 40), ({"Setup_Type": "CMAES"}, 10),
    ({"Setup_Type": "Grid", "Variables": {"0": "np.linspace(0,1,num=3)", "1": "[1,2]"}}, 6),
])
def test_budgets(changes, evaluations, imported):
    assert imported(scan(**changes)).config["scan"]["max_evaluations"] == evaluations


def test_every_key_is_either_used_or_listed(imported):
    names = ["csv", "csv name", "Short", "Precision", "Store In Memory", "Use TQDM", "StoreInputs", "Output File",
             "Merge Results", "SLHA_Output", "Resume", "debug", "StoreEverything", "TestCSV", "LR", "MultiNestLib"]
    result = imported(scan(**{f"Setup_{name.replace(' ', '__')}": "True" for name in names},
                           **{"Setup_Store__Inputs": "True", "Setup_OutputFile": "x", "Setup_Nonsense": 1},
                           ML={"a": 1}, MPI={"Size": 2}, Plotting={"Strategy": "csv", "Plots": {"p": {"Values": ["m0", "mh"]}}}))
    said = {where for kind in Kind for where in wheres(result, kind)}
    assert {f"Setup.{name}" for name in names} <= said
    assert {"Setup.Store Inputs", "Setup.OutputFile", "Setup.Nonsense", "ML"} <= wheres(result, Kind.UNREAD)
    assert {"MPI", "Plotting.Strategy", "Plotting.Plots.p"} <= wheres(result, Kind.LEFT_OUT)
    comments = "\n".join(result.report.lines())
    assert '.plot.scatter("m0", "mh")' in comments and "keep_files" in comments


@pytest.mark.parametrize(("changes", "kept"), [
    ({}, "none"), ({"StoreAllPoints": "True"}, "good"), ({"StoreAllPoints": "True", "Store__Output__Files": "False"}, "none"),
    ({"StoreSeparateFiles": True}, "good"), ({"StoreEverything": "True", "Store__Invalid": "True"}, "all"),
])
def test_which_files_are_kept(changes, kept, imported):
    result = imported(scan(**{f"Setup_{key}": value for key, value in changes.items()}))
    assert result.config["tools"][0]["keep_files"] == kept


def test_blocks_make_a_card_where_there_is_no_template(imported, tmp_path):
    (tmp_path / "LesHouches.in").unlink()
    result = imported(scan(Blocks={"MINPAR": {"1": "m0", "3": 10}}))
    assert result.files["scan.LesHouches.in"].decode() == "Block MINPAR\n 1  m0\n 3  10\n"
    assert imported(scan()).report.of(Kind.TO_DO)[0].where == "Codes.SPheno.InputFile"


def test_nothing_that_is_scored_means_every_valid_point_is_good(imported):
    codes = {"SPheno": {**SPHENO, "Observables": {"mh": {"SLHA": ["MASS", [25]]}}}}
    observables = imported(scan(Codes=codes)).config["observables"]
    assert observables["mh"]["likelihood"] == {"kind": "cfunction", "lower_bound": -math.inf, "upper_bound": math.inf}


def test_a_file_that_reads_nothing_keeps_every_valid_point(imported, tmp_path):
    result = imported(scan(Codes={"SPheno": {**SPHENO, "Observables": {}}}, Derived_Variables={"mix": "m0"}))
    assert list(result.config["observables"]) == ["valid_point"]
    assert check(tmp_path / "scan.json") == 0


def test_flavio_is_a_tool_of_ours_on_the_file_of_the_spectrum_generator(imported, tmp_path):
    flavio = {"Run": "True", "InputFile": "WC.MSSM_1.json", "Observables": {
        "BR(Bs->mumu)": {"SCALING": "GAUSS", "MEAN": 0, "VARIANCE": 3e-10}, "mu_EDM": {}}}
    result = imported(scan(Codes={"SPheno": SPHENO, "flavio": flavio},
                           Observables={"again": {"SLHA": ["FLAVIO", [1]]}, "no": {"SLHA": ["FLAVIO", [3]]}},
                           Derived_Variables={"mix": "m0"}))
    assert result.config["tools"][-1] == {"name": "flavio", "kind": "flavio", "wcxf_file": "WC.MSSM_1.json",
                                          "timeout_s": 600}
    wanted = {"tool": "flavio", "prediction": "BR(Bs->mumu)", "less_sm": True}
    found = result.config["observables"]
    assert found["BR_Bs_mumu"]["from"] == found["again"]["from"] == wanted
    assert "no" not in found
    assert {"Codes.flavio.Observables", "Observables.no.SLHA"} <= wheres(result, Kind.TO_DO)
    assert check(tmp_path / "scan.json") == 0
    sources = {o.name: o.source for o in load(tmp_path / "scan.toml").observables}
    assert sources["again"] == Difference("flavio", "BR(Bs->mumu)")


def test_codes_that_something_here_may_stand_for_are_told_so(imported):
    codes = {"SModelS": {"Run": "True", "Path": "/opt/s"}, "HiggsBounds": {"Run": "True", "Neutral Higgs": 3}}
    said = {f.where: f.text for f in imported(scan(Codes=codes)).report.of(Kind.TO_DO)}
    assert 'kind = "smodels"' in said["Codes.SModelS"] and 'kind = "higgstools"' in said["Codes.HiggsBounds"]


def test_a_grid_that_is_none_is_named(imported):
    with pytest.raises(ConfigError, match=r"Variables\.m0: got .__import__\("):
        imported(scan(Variables={"m0": "__import__('os').system('x')"}))


def test_a_fit_stands_before_the_chain(imported, tmp_path):
    fitting = {"Variables": {"mu": {"RANGE": [1, 2]}}, "Observables": {"mh": {"TARGET": 125, "VARIANCE": 1}}, "Extra": 1}
    result = imported(scan(Fitting=fitting, Derived_Variables={"mix": "1"}))
    assert [tool["kind"] for tool in result.config["tools"]] == ["fit", "spheno"]
    assert "Fitting.Extra" in wheres(result, Kind.UNREAD)
    assert check(tmp_path / "scan.json") == 0
    assert [o.name for o in load(tmp_path / "scan.toml").observables] == ["mu", "mh"]
    fitting["Observables"] = {"mystery": {"TARGET": 125, "VARIANCE": 1}}
    assert "Fitting.Observables" in wheres(imported(scan(Fitting=fitting)), Kind.TO_DO)


TOYS = {
    "Setup": {"RunName": "toys", "Type": "MLS_DNNR", "Skip SLHA Files": "True"},
    "Codes": {"toy_targets": {"Run": "True", "Rosenbrock a": 1.5, "Rastrigin A": -3, "Conditions": ["Rosen < 1e4"],
                              "Observables": {
        "Rosen": {"FUNCTION": "Rosenbrock", "SCALING": "MINUSEXPUSER"}, "R": {"SLHA": ["TOYTARGETS", [2]]},
        "Ackley": {"SCALING": "UPPER", "MEAN": 3, "VARIANCE": 1}}}},
    "Variables": {"x": {"RANGE": [-3, 3]}, "y": {"RANGE": [-3, 3]}, "z": {"RANGE": [-3, 3]}},
}


def test_toys_are_expressions_and_need_no_tool_of_their_own(imported, tmp_path):
    result = imported(TOYS)
    assert not wheres(result, Kind.TO_DO)
    assert check(tmp_path / "scan.json") == 0
    plan = load(tmp_path / "scan.toml")
    assert [tool.name for tool in plan.tools] == ["toy_targets"] and nothing({}) == {}
    point = {"x": 0.5, "y": -1.0, "z": 2.0}
    for o in plan.observables:
        point[o.name] = float(o.expression.evaluate(point))
    x, y, z = 0.5, -1.0, 2.0
    assert point["Rosen"] == pytest.approx(100 * ((y - x**2) ** 2 + (z - y**2) ** 2) + (1.5 - x) ** 2 + (1.5 - y) ** 2)
    assert point["R"] == pytest.approx(-9 + sum(v**2 + 3 * math.cos(2 * math.pi * v) for v in (x, y, z)))
    assert point["Ackley"] == pytest.approx(
        -20 * math.exp(-0.2 * math.sqrt((x**2 + y**2 + z**2) / 3))
        - math.exp(sum(math.cos(2 * math.pi * v) for v in (x, y, z)) / 3) + 20 + math.e)


@pytest.mark.parametrize("content", [
    {"Setup": 3, "Codes": {}}, {"Setup": {}, "Codes": {"SPheno": {}}}, {"Setup": {"Cores": "many"}, "Codes": {}},
    {"Setup": {}, "Codes": {}, "Variables": 3}, {"Setup": {}, "Codes": {}, "Variables": {"x": {"RANGE": [1]}}},
    {"Setup": {}, "Codes": {"SPheno": {"Run": "os.system('x')"}}},
    {"Setup": {}, "Codes": {}, "Observables": {"x": 1}}, {"Setup": {}, "Codes": {}, "Fitting": {"Method": "x"}},
])
def test_files_with_values_that_are_none_are_refused(content, imported):
    with pytest.raises(ConfigError):
        imported(content)


# ---- tables

ROWS = "ID,m0,mqm2-ms2,mh,Result\n1,100,5,125.0,0.5\n2,200,6,128.0,0.1\nrubbish\n3,300,7,nan,0.2\n4,1,2\n"


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "mine" / "Spectrum_Files"
    folder.mkdir(parents=True)
    (folder / "SLHA_output.csv").write_text(ROWS)
    (folder / "invalid_SLHA_output.csv").write_text("ID,m0,mqm2-ms2,mh\n9,900,8,NaN\n")
    (folder / "MPI_1").mkdir()
    (folder / "MPI_1" / "SLHA_output.csv").write_text(ROWS.replace("100,5", "101,5"))
    return tmp_path / "mine"


def test_csv_files_of_a_run_become_a_table(run_dir, tmp_path, capsys):
    assert main(["read-bsmart", str(run_dir)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == f"{run_dir}.parquet"
    assert "2 lines that are no rows were left out" in err and "7 points (6 ok, 1 invalid)" in err and "--json" in err
    table = pandas.read_parquet(f"{run_dir}.parquet")
    assert list(table.columns)[:6] == ["point_id", "iteration", "origin", "m0", "mqm2_ms2", "mh"]
    assert sorted(table["m0"]) == [100, 101, 200, 200, 300, 300, 900]
    assert table["nll"].isna().all() and table.loc[table["status"] == "invalid", "m0"].tolist() == [900]


def test_with_the_input_of_the_run_its_points_are_scored(run_dir, tmp_path, imported):
    content = scan(Variables={"m0": {"RANGE": [1, 1000]}, "mqm2-ms2": {"RANGE": [1, 9]}})
    imported(content)
    assert main(["read-bsmart", str(run_dir), "--json", str(tmp_path / "scan.json"), "-o", str(tmp_path / "t.parquet")]) == 0
    table = pq.read_table(tmp_path / "t.parquet")
    roles = {f.name: (f.metadata or {}).get(b"role") for f in table.schema}
    assert (roles["m0"], roles["mh"], roles["loss_mh"]) == (b"parameter", b"observable", b"loss")
    expected = get_losses({"mh": table["mh"].to_numpy()}, {"mh": Gauss(mean=125.0, sigma=3.0)})["mh"]
    np.testing.assert_allclose(table["nll"].to_numpy(), expected)


@pytest.mark.parametrize(("header", "value", "nll"), [
    ("NLL", "2.5", 2.5), ("LogLike", "-2.5", 2.5), ("Likelihood", repr(math.exp(-2.5)), 2.5), ("Result", "2.5", math.nan)])
def test_an_nll_that_is_written(tmp_path, header, value, nll):
    (tmp_path / "a.csv").write_text(f"m0,{header}\n1,{value}\n")
    found = evaluations(read_run(tmp_path / "a.csv"))["nll"].to_numpy()[0]
    assert found == pytest.approx(nll, nan_ok=True)


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n", "a,b\n"])
def test_tables_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError):
        read_run(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "a.csv").unlink()
    with pytest.raises(ConfigError, match="no CSV file"):
        read_run(tmp_path)


@pytest.mark.parametrize("key", ["InitCSV", "Initial Sample", "Input_CSV_File"])
def test_earlier_points_are_seeds_of_the_imported_scan(key, imported, tmp_path):
    (tmp_path / "old.csv").write_text("ID,m0,m-12,mh,Likelihood\n1,100,200,125,0.5\n2,200,300,128,0.25\n")
    content = scan(Derived_Variables={"mix": "1"}, Variables={"m0": {"RANGE": [1, 1000]}, "m-12": {"RANGE": [1, 900]}})
    content["Setup"][key] = "old.csv"
    imported(content)
    assert check(tmp_path / "scan.json") == 0
    plan = load(tmp_path / "scan.toml")
    assert plan.init_csv == tmp_path / "scan.seeds.parquet"
    seeds = read_seeds(plan.init_csv, plan)
    assert seeds.x.tolist() == [[100, 200], [200, 300]] and seeds.observables[:, 0].tolist() == [125, 128]


def test_a_table_of_another_scan_is_no_seed(imported, tmp_path):
    (tmp_path / "old.csv").write_text("ID,a,b,Result\n1,2,3,0.5\n")
    result = imported(scan(Setup_InitCSV="old.csv"))
    assert "Setup.InitCSV" in wheres(result, Kind.TO_DO) and "init_csv" not in result.config["scan"]


def test_a_sample_says_what_its_column_is(imported, tmp_path):
    (tmp_path / "old.csv").write_text("m0,m12,chi\n100,200,-3\n")
    result = imported(scan(**{"Setup_Initial__Sample": "old.csv", "Setup_Sample__LogLike__Name": "chi"}))
    (tmp_path / "s.parquet").write_bytes(result.files["scan.seeds.parquet"])
    assert pandas.read_parquet(tmp_path / "s.parquet")["nll"].tolist() == [3.0]
    missing = imported(scan(**{"Setup_InitCSV": "nowhere.csv"}))
    assert "Setup.InitCSV" in wheres(missing, Kind.TO_DO) and "init_csv" not in missing.config["scan"]


def test_ranges_of_listed_variables_come_from_their_table(imported, tmp_path):
    (tmp_path / "old.csv").write_text("m0,m12\n100,200\n150,300\n")
    result = imported(scan(Variables=["m0", "m12"], Setup_Type="read_csv", Setup_Input_CSV_File="old.csv"))
    assert result.config["parameters"] == {"m0": {"low": 100.0, "high": 150.0}, "m12": {"low": 200.0, "high": 300.0}}


# ---- whatever stands in a file

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["True", "inf", "1e3", "math.exp(x)", "VARIABLE[0]", "np.linspace(0, 1, num=3)", "MLS_DNNR", "../x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=6)


def _places(node: object, path: tuple = ()) -> list[tuple]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(p for key, value in items for p in _places(value, (*path, key)))]


_FULL = scan(
    Codes={"SPheno": {**SPHENO, "Conditions": ["mh > 1"]}, "toy_targets": {"Run": "True", "Easom center": [1, 2]},
           "MicrOmegas": {"Run": "True", "Command": "mo", "LSP": [1], "Cross-sections": "True"},
           "HiggsTools": {"Run": "True", "Observables": {"HS": {"SLHA": ["HIGGSTOOLS", [13]], "SCALING": "USER"}}}},
    Observables={"f": {"FUNCTION": "mh*2", "SCALING": "CFUNCTION", "UPPER_BOUND": 1}, "b": {"SLHA": ["BR", [25, [5, -5]]]}},
    Derived_Variables={"mix": "m0"}, Blocks={"MINPAR": {"3": "mix"}}, Networks={"Iterations": 3, "Neurons": 5},
    Fitting={"Variables": {"mu": {"RANGE": [1, 2]}}, "Observables": {"mh": {"TARGET": 1, "VARIANCE": 1}}, "Options": {"eps": 1}},
    Plotting={"Strategy": "csv", "Plots": {"p": {"Values": ["m0", "mh"]}}}, Setup_InitCSV="old.csv")


@given(st.data())
def test_a_file_imports_or_says_why_not(data):
    content = json.loads(json.dumps(_FULL))
    place = data.draw(st.sampled_from([p for p in _places(content) if p]))
    node = content
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = data.draw(_VALUES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.json"
        path.write_text(json.dumps(content))
        (Path(folder) / "LesHouches.in").write_text(CARD)
        (Path(folder) / "old.csv").write_text("m0,m12,mh\n1,2,3\n")
        with contextlib.suppress(ConfigError):
            imported = import_bsmart(path, path.with_suffix(".toml"))
            written = write(imported, path, path.with_suffix(".toml"), force=False)
            tomllib.loads(written[0].read_text())
            if stubs := imported.files.get("scan_tools.py"):
                compile(stubs, "scan_tools.py", "exec")
