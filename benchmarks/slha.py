"""What reading SLHA costs: `raydnnr.slha` beside pyslha and xslha, and how many of their numbers it reads as they do.

    pip install pyslha xslha six
    python benchmarks/slha.py [--seconds 5] [FILE ...]

Without files, two made-up spectra: a small one (25 masses, a mixing matrix, two tables of decays) and one of the size
that spectrum generators write (2,000 lines). A file is read from disk, as a tool does, and ten masses are taken.
Before that, every number of blocks, widths and branching ratios that another reader finds is compared: one that
differs ends the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from raydnnr.slha import Slha

Asked = Sequence[int]  # particles
Read = Callable[[Path, Asked], list[float]]
Address = tuple[str | int, ...]  # block and key; "DECAY", particle and, for a branching ratio, its daughters
N_MASSES, N_ASKED = 25, 10


def spectrum(n_decays: int, n_channels: int, n_matrices: int) -> str:
    """A spectrum in the format of spectrum generators, with numbers drawn from a fixed seed."""
    draw = random.Random(1).uniform
    lines = ["Block SPINFO  # Program information", "     1   made-up    # spectrum calculator", "     2   1.0",
             "Block MODSEL  # Select model", "     1    1   # sugra", "Block MASS  # Mass spectrum"]
    lines += [f"  {1000001 + k:9d}   {draw(100, 3000):16.8E}   # particle {k}" for k in range(N_MASSES)]
    for matrix in range(n_matrices):
        lines.append(f"Block MIX{matrix} Q= {1000 + matrix:14.8E}  # mixing matrix")
        lines += [f"  {i}  {j}   {draw(-1, 1):16.8E}   # entry" for i in range(1, 5) for j in range(1, 5)]
    for k in range(n_decays):
        lines.append(f"DECAY   {1000001 + k}   {draw(0, 10):16.8E}   # particle {k}")
        lines += [f"   {1 / n_channels:16.8E}   2   {c + 1}   {-c - 1}   # channel" for c in range(n_channels)]
    return "\n".join(lines) + "\n"


def ours(path: Path, asked: Asked) -> list[float]:
    """Some masses, by raydnnr."""
    read = Slha.parse(path.read_bytes())
    return [read.get("MASS", [pdg]) for pdg in asked]


def with_pyslha(module: object) -> Read:
    """The same by pyslha."""
    def read(path: Path, asked: Asked) -> list[float]:
        blocks = module.read(str(path)).blocks["MASS"]  # type: ignore[attr-defined]
        return [float(blocks[pdg]) for pdg in asked]

    return read


def with_xslha(module: object) -> Read:
    """The same by xslha."""
    def read(path: Path, asked: Asked) -> list[float]:
        found = module.read(str(path))  # type: ignore[attr-defined]
        return [float(found.Value("MASS", [pdg])) for pdg in asked]

    return read


def all_of_pyslha(path: Path) -> dict[Address, float]:
    """Every number that pyslha finds; less the decays that it gives to every particle with a mass."""
    read = importlib.import_module("pyslha").read(str(path))
    found: dict[Address, float] = {(name, *_key(key)): value
                                   for name, block in read.blocks.items() for key, value in block.items()}
    for pdg, table in read.decays.items():
        if table.totalwidth:
            found["DECAY", pdg] = table.totalwidth
            found |= {("DECAY", pdg, *sorted(channel.ids)): channel.br for channel in table.decays}
    return found


def _key(key: object) -> tuple[int, ...]:
    """A key of pyslha's, which is None where a block holds one number."""
    return () if key is None else key if isinstance(key, tuple) else (int(str(key)),)


def all_of_xslha(path: Path) -> dict[Address, float]:
    """Every number that xslha finds."""
    read = importlib.import_module("xslha").read(str(path))
    found: dict[Address, float] = {(name, *map(int, key.split(","))): value
                                   for name, block in read.blocks.items() for key, value in block.items() if key}
    found |= {("DECAY", pdg): width for pdg, width in read.widths.items()}
    return found | {("DECAY", pdg, *sorted(daughters)): ratio
                    for pdg, table in read.br.items() for daughters, ratio in table.items()}


def ours_at(read: Slha, address: Address) -> float:
    """The same number by raydnnr."""
    name, *key = address
    if name != "DECAY":
        return read.get(str(name), [int(k) for k in key])
    pdg, *daughters = (int(k) for k in key)
    return read.branching_ratio(pdg, daughters) if daughters else read.width(pdg)


def n_agreed(path: Path, theirs: dict[Address, float]) -> int:
    """How many of their numbers are ours. Raises AssertionError where one is not."""
    read, numbers = Slha.parse(path.read_bytes()), {a: v for a, v in theirs.items() if isinstance(v, int | float)}
    differ = {a: (v, ours_at(read, a)) for a, v in numbers.items() if ours_at(read, a) != v}
    assert not differ, differ
    return len(numbers)


ALL = {"pyslha": all_of_pyslha, "xslha": all_of_xslha}


def readers() -> dict[str, Read]:
    """Those that are installed."""
    found: dict[str, Read] = {"raydnnr": ours}
    for name, make in (("pyslha", with_pyslha), ("xslha", with_xslha)):
        with contextlib.suppress(ImportError):
            found[name] = make(importlib.import_module(name))
    return found


def per_minute(read: Read, path: Path, asked: Asked, seconds: float) -> float:
    """Files read in a minute of one core."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        read(path, asked)
        count += 1
    return 60 * count / spent


def main() -> None:
    """A line for each file and reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = list(arguments.files)
        for name, shape in (("small", (2, 4, 1)), ("large", (60, 28, 12))):
            if not arguments.files:
                files.append(Path(folder, name))
                files[-1].write_text(spectrum(*shape))
        print(f"{'file':<12}{'bytes':>8}  {'reader':<8}{'files per core-minute':>22}{'numbers as ours':>17}")
        for path in files:
            masses = next(block for block in Slha.parse(path.read_bytes()).blocks if block.name == "MASS")
            asked = [int(words[0]) for words in masses.lines[:N_ASKED]]
            for name, read in readers().items():
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        same = n_agreed(path, ALL[name](path)) if name in ALL else 0
                        rate = per_minute(read, path, asked, arguments.seconds)
                except (LookupError, ValueError) as error:
                    print(f"{path.name:<12}{path.stat().st_size:>8}  {name:<8} cannot read it: {error!r:.50}")
                    continue
                print(f"{path.name:<12}{path.stat().st_size:>8}  {name:<8}{rate:>22,.0f}{same or '':>17}", flush=True)


if __name__ == "__main__":
    main()
