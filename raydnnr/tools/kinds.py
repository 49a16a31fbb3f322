"""The kinds of tools, by their word in ``kind = "..."``."""

from __future__ import annotations

from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.slha_command import SlhaCommand

KINDS: dict[str, type] = {"slha": SlhaCommand, "python": PythonFunction}
