"""What reading SLHA costs: `raydnnr.slha` beside pyslha and xslha, which must agree on every number.

    pip install pyslha xslha six
    python benchmarks/slha.py [--seconds 5] [FILE ...]

Without files, two made-up spectra: a small one (25 masses, a mixing matrix, two tables of decays) and one of the size
that spectrum generators write (2,000 lines). A file is read from disk, as a tool does, and ten numbers are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from raydnnr.slha import Slha

Read = Callable[[Path], list[float]]
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


def ours(path: Path) -> list[float]:
    """The first masses, by raydnnr."""
    read = Slha.parse(path.read_bytes())
    return [read.get("MASS", [1000001 + k]) for k in range(N_ASKED)]


def with_pyslha(module: object) -> Read:
    """The same by pyslha."""
    def read(path: Path) -> list[float]:
        blocks = module.read(str(path)).blocks["MASS"]  # type: ignore[attr-defined]
        return [float(blocks[1000001 + k]) for k in range(N_ASKED)]

    return read


def with_xslha(module: object) -> Read:
    """The same by xslha."""
    def read(path: Path) -> list[float]:
        found = module.read(str(path))  # type: ignore[attr-defined]
        return [float(found.Value("MASS", [1000001 + k])) for k in range(N_ASKED)]

    return read


def readers() -> dict[str, Read]:
    """Those that are installed."""
    found: dict[str, Read] = {"raydnnr": ours}
    for name, make in (("pyslha", with_pyslha), ("xslha", with_xslha)):
        with contextlib.suppress(ImportError):
            found[name] = make(importlib.import_module(name))
    return found


def per_minute(read: Read, path: Path, seconds: float) -> float:
    """Files read in a minute of one core."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        read(path)
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
        print(f"{'file':<12}{'bytes':>8}  {'reader':<8}{'files per core-minute':>22}")
        for path in files:
            expected = ours(path) if not arguments.files else None
            for name, read in readers().items():
                with contextlib.redirect_stdout(io.StringIO()):
                    found = read(path)
                    rate = per_minute(read, path, arguments.seconds)
                assert expected is None or found == expected, (name, found, expected)
                print(f"{path.name:<12}{path.stat().st_size:>8}  {name:<8}{rate:>22,.0f}", flush=True)


if __name__ == "__main__":
    main()
