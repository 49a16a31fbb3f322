"""Every way to search that the benchmark knows, by name."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from problems.problem import Problem
from score import Log

from peers import bsmart, cma, mcmc, ours
from raydnnr.search.methods import KINDS

Search = Callable[[Problem, int, int], Log]
HERE = Path(__file__).parent
DECIDING = ("raydnnr.search.", "raydnnr.surrogates.")  # packages of which a method is made


@dataclass(frozen=True)
class Peer:
    """A search.

    Attributes:
        search: Problem, seed and evaluations to its log.
        needs: Packages beyond those of raydnnr.
        code: Files that define what it does; a cached run is used only while they are the same.
        settings: What it was called with, for the same purpose.
        max_evaluations: What it is given at most, where its own cost would be too high; 0: no limit.
    """

    search: Search
    needs: tuple[str, ...] = ()
    code: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    max_evaluations: int = 0

    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]

    def fingerprint(self) -> str:
        """Of code, settings and the versions of what it needs."""
        versions = {name: importlib.metadata.version(name) for name in self.needs}
        text = json.dumps([versions, dict(self.settings), [path.read_text() for path in self.code]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


PEERS: dict[str, Peer] = {
    "cmaes": Peer(cma.search, ("cmaes",), (HERE / "cma.py",)),
    "emcee": Peer(mcmc.from_prior, ("emcee",), (HERE / "mcmc.py",)),
    "cmaes+emcee": Peer(mcmc.from_cma, ("cmaes", "emcee"), (HERE / "mcmc.py", HERE / "cma.py")),
    "bsmart MLS_DNNR": Peer(bsmart.mls_dnnr, ("cmaes",), (HERE / "bsmart.py", HERE / "bsmart_tool.py"),
                            max_evaluations=2000),
    "bsmart CMAES": Peer(bsmart.cmaes, ("cmaes",), (HERE / "bsmart.py", HERE / "bsmart_tool.py"),
                         max_evaluations=5000),
}

LIMITS = {"hybrid": 6000, "random": 10_000, "mls_dnnr": 3000}  # evaluations of our own methods: more says little new


def method(name: str, settings: Mapping[str, Any] | None = None) -> Peer:
    """A peer, or a method of ``raydnnr.search.methods`` with some of its settings changed.

    Raises:
        KeyError: Neither has that name.
    """
    if name in PEERS:
        return PEERS[name]
    kind = KINDS[name]
    return Peer(partial(ours.search, method=name, settings=settings or {}), code=sources_of(kind.__module__),
                settings={"method": name, **(settings or {})}, max_evaluations=LIMITS.get(name, 0))


def names() -> list[str]:
    """Our own methods, then the peers."""
    return [*KINDS, *PEERS]


def sources_of(module: str) -> tuple[Path, ...]:
    """The files of a search method: its module, and those of ``raydnnr.search`` and ``raydnnr.surrogates`` that it
    imports, directly or not. The rest of raydnnr carries points about and decides nothing."""
    found: dict[str, Path] = {}
    waiting = [module, "raydnnr.space", "raydnnr.likelihoods"]
    while waiting:
        name = waiting.pop()
        spec = find_spec(name) if name not in found else None
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        for node in ast.walk(ast.parse(found[name].read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            else:
                continue
            waiting += [n for n in imported if n.startswith(DECIDING) and _is_module(n)]
    return tuple(found[name] for name in sorted(found))


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module, it a name in it
        return False
