"""A configuration as a TOML text that people like to read: a line for a parameter, a table for an observable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w


def dumps(config: Mapping[str, Any], comments: Sequence[str]) -> str:
    """The text, with comment lines before it.

    Example:
        >>> print(dumps({"scan": {"name": "x"}, "parameters": {"m0": {"low": 1.0}}}, ["of scan.json"]))
        # of scan.json
        <BLANKLINE>
        [scan]
        name = "x"
        <BLANKLINE>
        [parameters]
        m0 = { low = 1.0 }
        <BLANKLINE>
    """
    lines = [f"# {''.join(c if c.isprintable() else '?' for c in line)}".rstrip() for line in comments]
    for name, table in config.items():
        if name == "tools":
            for tool in table:
                lines += ["", "[[tools]]", *_settings(tool)]
        elif name == "observables":
            for observable, settings in table.items():
                lines += ["", f"[observables.{observable}]", *_settings(settings)]
        elif table:
            lines += ["", f"[{name}]", *_settings(table)]
    return "\n".join(lines) + "\n"


def _settings(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(v) for v in value)}]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")
