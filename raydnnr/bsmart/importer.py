"""Importer: a BSMArt JSON file -> a configuration, the files it needs, and a report of what is not the same."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from raydnnr.bsmart import cards, scans, toml, toys
from raydnnr.bsmart.codes import Chain
from raydnnr.bsmart.fitting import fit
from raydnnr.bsmart.names import Names
from raydnnr.bsmart.observables import OPEN, observable
from raydnnr.bsmart.report import Kind, Report
from raydnnr.bsmart.section import Section, read_json
from raydnnr.bsmart.seeds import Seeds, find_seeds
from raydnnr.bsmart.variables import grid_size, parameters
from raydnnr.errors import ConfigError, ExpressionError
from raydnnr.expressions import Expression

Table = dict[str, Any]

_SETUP = {  # keys without counterpart, and what to do instead
    "csv": "all points are in a table: raydnnr export RUN_DIR -o points.csv makes a CSV file of it",
    "csv name": "raydnnr export RUN_DIR -o NAME.csv", "Short": "raydnnr export RUN_DIR -o NAME.csv",
    "Precision": "nothing is to do: numbers are kept in full",
    "Store In Memory": "nothing is to do", "Use TQDM": "nothing is to do: raydnnr status RUN_DIR shows the progress",
    "StoreInputs": "input files are kept beside the output files, as keep_files says",
    "Output File": "nothing is to do: kept files have the names of their tools",
    "Temporary Directory": "scratch folders are in memory where there is room, else in $TMPDIR; another folder, which "
    "has to be there, is [cluster] scratch = ...", "Merge Results": "nothing is to do: there is one table",
    "SLHA_Output": "nothing is to do: a tool says what it reads",
    "Resume": "nothing is to do: run the same command again and the scan goes on; --fresh starts over",
    "debug": "use raydnnr run CONFIG --inline, and keep_files = \"failed\"",
}
_SETUP_UNREAD = {"Store Inputs": "meant was StoreInputs", "OutputFile": "meant was \"Output File\"",
                 "Debug": "meant was debug"}
_INTERNAL = ("cwd", "TempDir", "MAINpath", "PackagePath")
_LSP = "lsp_pdg"
_NOTHING = "valid_point"  # an observable where there is none


@dataclass
class Imported:
    """A configuration: its tables, ``files`` beside it by name, the names, and what is not the same."""

    config: Table
    files: dict[str, bytes]
    names: Names
    report: Report
    stubs: list[str] = field(default_factory=list)


def import_bsmart(path: Path, output: Path) -> Imported:
    """Translate a file.

    Args:
        path: BSMArt's JSON file; files it names are looked for in its folder.
        output: The configuration that will be written; files beside it get names that begin like its own.

    Raises:
        ConfigError: It is no BSMArt input, or a value in it is none.
    """
    return _Import(path, output).run()


class _Import:
    """One file on its way."""

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self.stem = path, output.stem
        self.folder = path.absolute().parent
        self.root = read_json(path)
        self.setup, self.codes = self.root.section("Setup"), self.root.section("Codes")
        self.blocks = self.root.section("Blocks")
        self.report = Report()
        self.files: dict[str, bytes] = {}
        self.variables = self.root.take("Variables") or {}
        if not isinstance(self.variables, dict | list):
            raise ConfigError(f"Variables: got {self.variables!r:.60}, wants an object or a list of names")
        self.names = Names([str(name) for name in self.variables])
        self.derived, self.fitting = self.root.section("Derived Variables"), self.root.section("Fitting")
        for name in (*self.fitting.section("Variables"), *self.derived):
            self.names.add(name)

    def run(self) -> Imported:
        scan = scans.scan_type(self.setup, self.report)
        listed = self._listed_observables()
        chain = self._chain()
        observables = self._observables(listed, chain, scan)
        seeds = find_seeds(self.setup, self.folder, self.names, self.report)
        self._say_priors(scan)
        stop, search = scans.scan_and_search(scan, self.setup, self.root.section("Networks"), self.report,
                                             grid_size(self.variables))
        ranges = seeds.ranges if seeds else {}
        config: Table = {
            "scan": {"name": self._run_name(), **stop}, "search": search,
            "parameters": parameters(self.variables, self.names, self.report, ranges),
            "derived": self._derived(), "tools": chain.tools, "observables": observables, "cluster": self._cluster(),
        }
        self._put_seeds(config, seeds)
        self._put_fit(config)
        self._usable(config)
        self._left_over()
        self._say_names()
        if chain.stubs:
            head = '"""Functions that have to be written."""\n\nfrom raydnnr.errors import ToolFailure\n'
            self.files[f"{chain.module}.py"] = "\n\n".join([head, *chain.stubs.values()]).encode()
        return Imported(config, self.files, self.names, self.report, list(chain.stubs))

    def _listed_observables(self) -> dict[str, tuple[Section, str]]:
        """Observables and the codes they stand in; one of a code takes the place of a global one of its name."""
        found: dict[str, tuple[Section, str]] = {}
        everywhere = self.root.section("Observables")
        for name in everywhere:
            found[name] = everywhere.section(name), ""
        for code in self.codes:
            settings = self.codes.section(code)
            runs, own = settings.boolean("Run"), settings.section("Observables")
            if "Run" not in settings:
                raise ConfigError(f'{settings.where("Run")}: is missing; BSMArt wants "True" or "False"')
            for name in own:
                if runs:
                    found[name] = own.section(name), code
        for name in found:
            self.names.add(name)
        return found

    def _chain(self) -> Chain:
        setup = self.setup
        chain = Chain(self.folder, re.sub(r"\W", "_", f"{self.stem}_tools"), self.names, self.report)
        chain.spectrum = self._spectrum_name()
        chain.keep_files = self._keep_files()
        environment = setup.section("Environment Variables")
        chain.environment = {name: environment.text(name) for name in environment}
        if not setup.boolean("Skip SLHA Files"):
            chain.card = self._card()
        for code in self.codes:
            settings = self.codes.section(code)
            own = list(settings.section("Observables"))
            if settings.boolean("Run"):
                chain.add(code, settings, own)
            else:
                self.report.add(Kind.LEFT_OUT, settings.path, "is switched off (Run), and so are its observables")
        chain.finish()
        return chain

    def _spectrum_name(self) -> str:
        """The SLHA file that goes along the chain; a later code may insist on a name of its own."""
        first = next(iter(self.codes), None)
        name = self.setup.text("Spectrum File")
        for code in self.codes:
            if code in {"MicrOmegas", "VacStab"} and code != first:
                settings = self.codes.section(code)
                if settings.boolean("Run") and (wanted := settings.text("InputFile")):
                    return Path(wanted).name
        if not name and first is not None:
            name = self.codes.section(first).text("OutputFile")
        return Path(name).name or "SLHA_output"

    def _keep_files(self) -> str:
        setup = self.setup
        keep = setup.boolean("StoreAllPoints")
        keep = setup.boolean("Store Output Files", keep)
        keep = setup.boolean("StoreSeparateFiles") or keep
        if setup.boolean("StoreEverything"):
            keep = True
            self.report.add(Kind.DIFFERENT, setup.where("StoreEverything"), "input and output of each tool are kept, "
                            "not all files of its folder")
        return ("all" if setup.boolean("Store Invalid") else "good") if keep else "none"

    def _card(self) -> str:
        """Carry the template along; its name beside the configuration, or empty."""
        first = next(iter(self.codes), None)
        if first is None:
            return ""
        name = self.codes.section(first).text("InputFile")
        source = self.folder / Path(name).expanduser() if name else None
        text = ""
        if source is not None and source.is_file():
            text = source.read_bytes().decode("utf-8", "surrogateescape")
        elif not list(self.blocks):
            if name or first not in {"toy_targets", "pass_tool"}:
                self.report.add(Kind.TO_DO, self.codes.where(f"{first}.InputFile"), f"the template {name!r} is not in "
                                f"{self.folder}: put it there and import again")
            return ""
        text = cards.translated(text, self.names, self.report, name or "template")
        text = cards.overlaid(text, self.blocks, self.names, self.report)
        card = f"{self.stem}.{Path(name or 'template.in').name}"
        self.files[card] = text.encode("utf-8", "surrogateescape")
        return card

    def _observables(self, listed: Mapping[str, tuple[Section, str]], chain: Chain, scan: str) -> Table:
        found: Table = {}
        for name, (settings, code) in listed.items():
            address = partial(_address, chain, self.names[name])
            table = observable(settings, code, address, self.names, self.report, classified=scan == "AL")
            if table is not None:
                found[self.names[name]] = table
        missing = [n for n in toys.NAMES if n in chain.toys and n not in found and n not in self.names.variables]
        computed = [Expression(table["expression"]) for table in found.values() if "expression" in table]
        used = set().union(*(expression.names for expression in computed))
        for name in used.intersection(missing):
            found[name] = {"expression": chain.toys[name], "likelihood": {"kind": "off"}}
        for name in chain.toys:
            if found.get(name, {}).get("expression") == name:
                found[name]["expression"] = chain.toys[name]
        if any(_LSP in c for tool in chain.tools for c in tool.get("conditions", ())):
            found[_LSP] = {"from": chain.address("DARKMATTER", [2], "MicrOmegas", _LSP)["from"],  # type: ignore[index]
                           "likelihood": {"kind": "off"}}
        return found

    def _derived(self) -> Table:
        found: Table = {}
        known = set(self.names.variables)
        for name in self.derived:
            try:
                text = self.names.expression(self.derived.text(name))
                Expression(text).check(known, self.derived.where(name))
            except ExpressionError as error:
                self.report.add(Kind.TO_DO, self.derived.where(name), f"{error}; it is left out")
                continue
            found[self.names[name]] = text
            known.add(self.names[name])
        if found:
            self.report.add(Kind.DIFFERENT, "Derived Variables", "are computed here, as BSMArt's text says; its code "
                            "forgets them, so that a template with their names was written unchanged")
        return found

    def _run_name(self) -> str:
        name = re.sub(r"[/\0]", "_", self.setup.text("RunName")).strip() or "BSMArt_run"
        return name if name not in {".", ".."} else "BSMArt_run"

    def _cluster(self) -> Table:
        cores = self.setup.integer("Cores")
        return {"slots": cores} if cores is not None and cores > 0 else {}

    def _put_seeds(self, config: Table, seeds: Seeds | None) -> None:
        if seeds is not None:
            name = f"{self.stem}.seeds.parquet"
            self.files[name] = seeds.parquet
            config["scan"]["init_csv"] = name

    def _put_fit(self, config: Table) -> None:
        if "Fitting" in self.root and self.root.take("Fitting"):
            config["tools"].insert(0, fit(self.fitting, self.names, self.report))
            for name in self.fitting.rest():
                self.report.add(Kind.UNREAD, self.fitting.where(name), "BSMArt knows no such key of a fit")

    def _usable(self, config: Table) -> None:
        """Expressions after what they use; without those that use what was left out; and something to score."""
        left = dict(config["observables"])
        known = {*config["parameters"], *config["derived"]}
        known |= {name for tool in config["tools"] for name in tool.get("solve", {})}
        found: Table = {name: left.pop(name) for name in list(left) if "from" in left[name]}
        while ready := [n for n in left if Expression(left[n]["expression"]).names <= known | found.keys()]:
            found[ready[0]] = left.pop(ready[0])
        for name, table in left.items():
            self.report.add(Kind.TO_DO, f"observable {name}", f"{table['expression']!r} uses what is not known here; "
                            "it is left out")
        known |= found.keys()
        for name in {name for tool in config["tools"] for name in tool.get("targets", {})} - found.keys():
            self.report.add(Kind.TO_DO, "Fitting.Observables", f"{name} is no observable here; give it, or take it out "
                            "of the targets")
        for tool in config["tools"]:
            for condition in list(tool.get("conditions", ())):
                if not Expression(condition).names <= known:
                    tool["conditions"].remove(condition)
                    self.report.add(Kind.TO_DO, f"Codes.{tool['name']}.Conditions", f"{condition!r} uses what is not "
                                    "known here; it is left out")
        if not found:
            found[_NOTHING] = {"expression": "1", "likelihood": {"kind": "off"}}
        if all(table["likelihood"]["kind"] == "off" for table in found.values()):
            first = next(iter(found))
            found[first]["likelihood"] = dict(OPEN)
            self.report.add(Kind.DIFFERENT, "Observables", f"none is scored: {first} has a likelihood that any number "
                            "meets, so that every valid point counts as good")
        config["observables"] = found

    def _left_over(self) -> None:
        """Keys that nothing above has read."""
        for key in self.setup.rest():
            where = self.setup.where(key)
            if key in _SETUP:
                self.report.add(Kind.LEFT_OUT, where, _SETUP[key])
            elif key not in _INTERNAL:
                self.report.add(Kind.UNREAD, where, _SETUP_UNREAD.get(key, "BSMArt knows no such key"))
        plotting = self.root.section("Plotting")
        plots = plotting.section("Plots")
        for name in plots:
            values = plots.section(name).texts("Values")
            x, y = [*(self.names.get(v, v) for v in values), "x", "y"][:2]
            self.report.add(Kind.LEFT_OUT, plots.where(name), f'pandas.read_parquet("RUN_DIR/evaluations").plot.scatter'
                            f'("{x}", "{y}")')
        for key in plotting.rest():
            self.report.add(Kind.LEFT_OUT, plotting.where(key), "nothing is to do: all points are in one table")
        for key in self.root.rest():
            reads = key == "MPI"
            text = "the program looks after its processes: [cluster] slots" if reads else "BSMArt knows no such key"
            self.report.add(Kind.LEFT_OUT if reads else Kind.UNREAD, key, text)

    def _say_priors(self, scan: str) -> None:
        listed = self.variables.values() if isinstance(self.variables, dict) else []
        priors = {str(v.get("PRIOR", "UNIFORM")).upper() for v in listed if isinstance(v, dict)}
        if priors - {"UNIFORM"} and scan in scans.WITHOUT_PRIORS:
            self.report.add(Kind.DIFFERENT, "Variables", f"their priors are used here; {scan} of BSMArt draws evenly, "
                            "whatever PRIOR says")

    def _say_names(self) -> None:
        for old, new in self.names.changed.items():
            self.report.add(Kind.DIFFERENT, repr(old), f"is called {new} here")


def _address(chain: Chain, name: str, block: str, keys: list[Any], code: str) -> Table | None:
    return chain.address(block, keys, code, name)


def write(imported: Imported, path: Path, output: Path, *, force: bool) -> list[Path]:
    """Write the configuration and its files; functions to be written that are already there stay.

    Returns:
        What was written, the configuration first.

    Raises:
        ConfigError: One of the files is already there (unless ``force``), or cannot be written.
    """
    stubs = f"{re.sub(r'[^0-9A-Za-z_]', '_', output.stem)}_tools.py"
    files = {output.parent / name: data for name, data in imported.files.items()
             if not (name == stubs and (output.parent / name).exists())}
    comments = [f"Made of {path.name} (BSMArt) by raydnnr import-bsmart.", "", *imported.report.lines()]
    files = {output: toml.dumps(imported.config, comments).encode("utf-8", "surrogateescape"), **files}
    there = [str(p) for p in files if p.exists()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: already there; --force writes over it, -o chooses another name")
    try:
        for file, data in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written: {os.strerror(error.errno or 0)}") from None
    return list(files)
