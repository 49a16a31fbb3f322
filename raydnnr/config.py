"""Configuration: a TOML file, and what the command line sets over it, to a `Plan`; and a plan back to TOML."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from raydnnr import likelihoods
from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Observable
from raydnnr.expressions import Expression
from raydnnr.kinds import build, choose
from raydnnr.plan import ClusterSettings, Method, Plan, Stop
from raydnnr.search import methods
from raydnnr.space import Parameter
from raydnnr.tools import kinds as tools
from raydnnr.tools.base import Tool
from raydnnr.tools.lilith import Lilith
from raydnnr.tools.program import Program
from raydnnr.version import __version__

T = TypeVar("T")
Table = dict[str, Any]

DEFAULT_METHOD = "hybrid"
STOP_KEYS = tuple(f.name for f in dataclasses.fields(Stop))
SCAN_KEYS = ("name", "seed", *STOP_KEYS, "init_csv")
EITHER_TABLE = (*STOP_KEYS, "init_csv")  # the original scan has them among the settings of the search
TABLES = ("scan", "search", "parameters", "derived", "tools", "observables", "cluster", "versions")
OBSERVABLE_KEYS = ("from", "expression", "likelihood", "valid", "unit", "latex")
PACKAGES = ("numpy", "pyarrow", "ray", "torch")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Plan:
    """Read a configuration file.

    Args:
        path: TOML. Paths in it are relative to its folder, which Python physics can import from.
        overrides: ``table.key=value`` each, the value in TOML or a bare word.

    Raises:
        ConfigError: With file, table and key, what came and what is accepted.
    """
    path = Path(path)
    folder = path.absolute().parent
    try:
        config = _overridden(_read(path), overrides)
        _check_values(config, "")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # for kinds and hooks of the user's own
        return _plan(config, folder)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(f"{path}") else f"{path} {text}") from None


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else [])
        raise ConfigError(f"{path}: no such file.{near}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _overridden(config: Table, overrides: Sequence[str]) -> Table:
    """The configuration with ``table.key=value`` settings laid over it."""
    for setting in overrides:
        key, equals, text = setting.partition("=")
        steps = key.strip().split(".")
        if not equals or len(steps) < 2 or not all(steps):
            raise ConfigError(f"--set {setting}: write table.key=value, such as scan.seed=2 or parameters.m0.high=500")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        node: Any = config
        for step in steps[:-1]:
            node = _step(node, step, setting)
        if not isinstance(node, dict):
            raise ConfigError(f"--set {setting}: {'.'.join(steps[:-1])} is not a table")
        node[steps[-1]] = value
    return config


def _step(node: Any, step: str, setting: str) -> Any:
    """One step down; a tool by its name or its number, from 0."""
    if isinstance(node, list):
        for k, item in enumerate(node):
            if isinstance(item, dict) and step in (str(k), item.get("name")):
                return item
        names = [str(item.get("name")) for item in node if isinstance(item, dict)]
        raise ConfigError(f"--set {setting}: no tool {step!r}; there are {', '.join(names)}."
                          + did_you_mean(step, names))
    if not isinstance(node, dict):
        raise ConfigError(f"--set {setting}: {step!r} is not a table")
    return node.setdefault(step, {})


def _check_values(node: Any, where: str) -> None:
    """Refuse what TOML does not have but its parser lets through, or no program could be given."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            _check_values(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, int) and not -(2**63) <= node < 2**63:
        raise ConfigError(f"{where}: a whole number has 64 bits at most; write a larger number as 1e30, say")
    elif isinstance(node, str) and "\0" in node:
        raise ConfigError(f"{where}: got {node!r}; a text cannot hold the null character")


def _plan(config: Table, folder: Path) -> Plan:
    _known(config, TABLES, "")
    config = {**config, "scan": dict(_table(config, "scan")), "search": dict(_table(config, "search"))}
    _one_table_for_stop(config)
    scan, search = config["scan"], config["search"]
    _known(scan, SCAN_KEYS, "[scan]")
    chain = _tools(config, folder)
    stop = build(Stop, {k: scan[k] for k in STOP_KEYS if k in scan}, "[scan]")
    init_csv = scan.get("init_csv")
    if init_csv is not None and not isinstance(init_csv, str):
        raise ConfigError(f"[scan] init_csv: got {init_csv!r}, wants a path")
    return Plan(
        name=_value(scan, "name", str, "a text", "scan"),
        seed=_value(scan, "seed", int, "a whole number", 0),
        parameters=_parameters(config), derived=_derived(config), tools=chain,
        observables=_observables(config, chain), method=_method(search), stop=stop, cluster=_cluster(config),
        init_csv=folder / init_csv if init_csv else None,
    )


def _known(table: Mapping[str, Any], accepted: Sequence[str], where: str) -> None:
    for key in table:
        if key not in accepted:
            what = f"{where}: no setting {key!r}; it accepts" if where else f"[{key}]: no such table; there are"
            raise ConfigError(f"{what} {', '.join(accepted)}.{did_you_mean(key, accepted)}")


def _table(config: Mapping[str, Any], name: str, where: str = "") -> Table:
    found = config.get(name, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{where or f'[{name}]'}: got {found!r}, wants a table")
    return found


def _value(table: Table, key: str, kind: type[T], words: str, default: T) -> T:
    value = table.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"[scan] {key}: got {value!r}, wants {words}")
    return value


def _one_table_for_stop(config: Table) -> None:
    """Stop rules may stand in [search] as well; not in both tables."""
    for key in EITHER_TABLE:
        if key in config["search"]:
            if key in config["scan"]:
                raise ConfigError(f"[search] {key}: also given in [scan]; keep one of them")
            config["scan"][key] = config["search"].pop(key)


def _parameters(config: Table) -> tuple[Parameter, ...]:
    found = []
    for name, settings in _table(config, "parameters").items():
        if not isinstance(settings, dict):
            raise ConfigError(f"[parameters.{name}]: got {settings!r}; write {{ low = ..., high = ... }} or "
                              "{ value = ... }")
        if not settings.get("prior", "uniform") or not isinstance(settings.get("prior", ""), str):
            raise ConfigError(f"parameters.{name}: prior: got {settings['prior']!r}; choose one of "
                              f"{', '.join(_priors())}")
        found.append(Parameter.of(name, **settings))
    return tuple(found)


def _derived(config: Table) -> dict[str, Expression]:
    return {name: _expression(text, f"[derived] {name}") for name, text in _table(config, "derived").items()}


def _expression(text: Any, where: str) -> Expression:
    try:
        return Expression(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _tools(config: Table, folder: Path) -> tuple[Tool, ...]:
    listed = config.get("tools", [])
    if not isinstance(listed, list) or not all(isinstance(t, dict) for t in listed):
        raise ConfigError("[[tools]]: write a table in double brackets for each tool")
    found = []
    for k, settings in enumerate(listed):
        where = f"[tools.{settings.get('name', k)}]"
        if "kind" not in settings:
            raise ConfigError(f"{where}: 'kind' is missing; choose one of {', '.join(tools.KINDS)}")
        cls = choose(settings["kind"], tools.KINDS, f"{where} kind")
        if not issubclass(cls, Tool):
            raise ConfigError(f"{where} kind: {settings['kind']!r} is not a raydnnr.tools.base.Tool")
        own = {key: value for key, value in settings.items() if key != "kind"}
        _known(own, [f.name for f in dataclasses.fields(cls) if f.init], where)
        if "conditions" in own:
            own["conditions"] = _conditions(own["conditions"], where)
        if "run_if" in own:
            own["run_if"] = _expression(own["run_if"], f"{where} run_if")
        found.append(build(cls, cls.resolve(own, folder), where))
    return tuple(found)


def _conditions(listed: Any, where: str) -> tuple[Expression, ...]:
    texts = [listed] if isinstance(listed, str) else listed
    if not isinstance(texts, list):
        raise ConfigError(f"{where} conditions: got {listed!r}, wants a list of expressions")
    return tuple(_expression(text, f"{where} conditions") for text in texts)


def _observables(config: Table, chain: tuple[Tool, ...]) -> tuple[Observable, ...]:
    found = []
    for name, settings in _table(config, "observables").items():
        where = f"[observables.{name}]"
        if not isinstance(settings, dict):
            raise ConfigError(f"{where}: got {settings!r}, wants a table")
        _known(settings, OBSERVABLE_KEYS, where)
        texts = {key: settings.get(key, "") for key in ("unit", "latex")}
        for key, text in texts.items():
            if not isinstance(text, str):
                raise ConfigError(f"{where} {key}: got {text!r}, wants a text")
        expression = settings.get("expression")
        found.append(Observable(
            name=name, source=_source(name, settings, chain) if "from" in settings else None,
            expression=None if expression is None else _expression(expression, f"{where} expression"),
            likelihood=_likelihood(settings, where), valid=_valid(settings.get("valid"), where), **texts,
        ))
    return tuple(found)


def _source(name: str, settings: Table, chain: tuple[Tool, ...]) -> Any:
    """Where an observable is read, by its ``from`` table; without a tool there, from the only one that can be meant."""
    where = f"[observables.{name}.from]"
    address = dict(_table(settings, "from", where))
    names = [tool.name for tool in chain]
    if "tool" not in address:
        meant = [tool for tool in chain if tool.default_source] or list(chain)
        if len(meant) != 1:
            raise ConfigError(f"{where}: name the tool it is read from, from = {{ tool = '...' }}; there are "
                              f"{', '.join(names) or 'no tools'}")
        address["tool"] = meant[0].name
    for tool in chain:
        if tool.name == address["tool"]:
            try:
                return tool.address(address, name)
            except ConfigError as error:
                text = str(error)
                raise ConfigError(text if name in text else f"{where}: {text}") from None
    raise ConfigError(f"{where}: no tool is named {address['tool']!r}; there are {', '.join(names) or 'none'}."
                      + did_you_mean(str(address["tool"]), names))


def _likelihood(settings: Table, where: str) -> Any:
    where = f"{where[:-1]}.likelihood]"
    table = dict(_table(settings, "likelihood", where)) if "likelihood" in settings else {"kind": "off"}
    if "kind" not in table:
        raise ConfigError(f"{where}: 'kind' is missing; choose one of {', '.join(likelihoods.KINDS)}")
    cls = choose(table.pop("kind"), likelihoods.KINDS, where)
    return build(cls, table, where)


def _valid(listed: Any, where: str) -> tuple[float, float] | None:
    if listed is None:
        return None
    pair = listed if isinstance(listed, list) and len(listed) == 2 else []
    numbers = [float(v) for v in pair if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != 2:
        raise ConfigError(f"{where} valid: got {listed!r}, wants [low, high]")
    return numbers[0], numbers[1]


def _method(search: Table) -> Method:
    search = dict(search)
    cls = choose(search.pop("method", DEFAULT_METHOD), methods.KINDS, "[search] method")
    method: Method = build(cls, search, "[search]")
    return method


def _cluster(config: Table) -> ClusterSettings:
    table = dict(_table(config, "cluster"))
    for key in ("slots", "gpus_for_trainer"):
        if table.get(key) == "auto":
            table[key] = None
        elif isinstance(table.get(key), str):
            raise ConfigError(f"[cluster] {key}: got {table[key]!r}; use a number or 'auto'")
    settings = build(ClusterSettings, table, "[cluster]")
    if settings.slots is not None and settings.slots < 1:
        raise ConfigError(f"[cluster] slots: got {settings.slots}; use a whole number >= 1 or 'auto'")
    if settings.gpus_for_trainer is not None and not settings.gpus_for_trainer >= 0:
        raise ConfigError(f"[cluster] gpus_for_trainer: got {settings.gpus_for_trainer}; use a number >= 0 or 'auto'")
    return settings


# ---- a plan as TOML


def dump(plan: Plan) -> dict[str, str]:
    """The resolved configuration as files: every setting, defaults included, the versions that read it, and templates.

    Written into one folder, ``config.toml`` is read back by `load` to an equal plan, as long as programs and Python
    modules stay where they are. A function that is a Python object has no name that a file could hold; it stands there
    by its module and qualified name.

    Returns:
        Texts by file name: ``config.toml``, and ``templates/<tool>.in`` for each template.
    """
    import tomli_w

    cards = [t for t in plan.tools if isinstance(t, Program | Lilith) and t.template]
    files = {f"templates/{t.name}.in": t.template_text for t in cards}

    config: Table = {
        "scan": {"name": plan.name, "seed": plan.seed, **_fields(plan.stop)},
        "search": {"method": _word(type(plan.method), methods.KINDS), **_fields(plan.method)},
        "parameters": {p.name: {"prior": _word(type(p.prior), _priors()), **_fields(p.prior), "unit": p.unit,
                                "latex": p.latex} for p in plan.parameters},
        "derived": {name: e.text for name, e in plan.derived.items()},
        "tools": [{"kind": _word(type(t), tools.KINDS), **_fields(t)} for t in plan.tools],
        "observables": {o.name: _observable(o) for o in plan.observables},
        "cluster": {"slots": "auto", "gpus_for_trainer": "auto", **_fields(plan.cluster)},
        "versions": versions(),
    }
    for table in config["tools"]:
        if "template" in table:
            table["template"] = f"templates/{table['name']}.in"
    if plan.init_csv:
        config["scan"]["init_csv"] = str(plan.init_csv)
    return {"config.toml": tomli_w.dumps(config), **files}


def versions() -> dict[str, str]:
    """Of the program and what its results may depend on."""
    found = {"raydnnr": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _priors() -> Mapping[str, type]:
    from raydnnr.space import KINDS

    return KINDS


def _observable(o: Observable) -> Table:
    table: Table = {"unit": o.unit, "latex": o.latex,
                    "likelihood": {"kind": _word(type(o.likelihood), likelihoods.KINDS), **_fields(o.likelihood)}}
    if o.source is not None:
        table["from"] = _fields(o.source)
    if o.expression is not None:
        table["expression"] = o.expression.text
    if o.valid is not None:
        table["valid"] = list(o.valid)
    return table


def _word(cls: type, kinds: Mapping[str, type]) -> str:
    return next((word for word, kind in kinds.items() if kind is cls), f"{cls.__module__}:{cls.__qualname__}")


def _fields(value: Any) -> Table:
    """The settings of a kind as TOML values, without those that are None."""
    own = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init)
    return {name: _toml(v) for name, v in own if v is not None}


def _toml(value: Any) -> Any:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _toml(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_toml(v) for v in value]
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', repr(value))}"
    return value
