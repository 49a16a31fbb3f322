"""Run directory: whose it is, and getting hold of it.

::

    identity.json                      whose run directory this is
    driver.json                        the driver that works in it now
    config.toml, templates/            what was asked for
    evaluations/iteration-00012.parquet  a finished round: immutable, complete
    evaluations/iteration-00000-00127.parquet  the same of many rounds, in the place of their own
    journal/                           the rounds under way
    files/iteration-00012.zip          kept output files
    surrogate/, status.json, scan.log, references.bib
    damaged/                           what was found among the shards and could not be read
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raydnnr.atomic import remove_leftovers, write_atomically
from raydnnr.claim import Claim
from raydnnr.errors import RunDirectoryError
from raydnnr.table import Layout, StoredPlan

IDENTITY = "identity.json"
FOLDERS = ("evaluations", "journal", "surrogate", "files", "templates")
FLOOR_BYTES = 50 * 10**6  # free space below which a scan does not start
SHOWN = 8  # differences that are named


def identity(run_dir: Path) -> dict[str, Any]:
    """What a run directory says of its scan.

    Raises:
        RunDirectoryError: It is none.
    """
    try:
        held = json.loads((run_dir / IDENTITY).read_text("utf-8"))
        if not isinstance(held, dict) or not isinstance(held["fingerprint"], str):
            raise ValueError("not an identity")
    except (FileNotFoundError, NotADirectoryError):
        raise RunDirectoryError(f"{run_dir}: not a run directory of raydnnr (it has no {IDENTITY})") from None
    except (OSError, ValueError, KeyError) as error:
        raise RunDirectoryError(f"{run_dir / IDENTITY}: unreadable ({error}); use --fresh to start over beside it"
                                ) from None
    return held


def threshold(run_dir: Path) -> float:
    """The NLL below which a point of this run is good."""
    return float(identity(run_dir)["threshold_value"])


def check_identity(run_dir: Path, plan: StoredPlan) -> None:
    """Refuse a folder that holds another scan, or anything else.

    Raises:
        RunDirectoryError: With what differs, and what to do.
    """
    if not (run_dir / IDENTITY).exists():
        if run_dir.exists() and not _is_blank(run_dir):
            raise RunDirectoryError(f"{run_dir}: exists and is not a run directory of raydnnr; choose another "
                                    "--run-dir or another scan.name")
        return
    held = identity(run_dir)
    if held["fingerprint"] != plan.fingerprint:
        found = _differences(held.get("physics", {}), json.loads(_identity_text(plan))["physics"])
        raise RunDirectoryError(
            f"{run_dir}: holds another scan (different: {'; '.join(found[:SHOWN]) or 'the fingerprint'}). Use --fresh "
            "to move it aside and start over, another --run-dir, another scan.name, or scan.init_csv to start from "
            "its points")


def take(run_dir: Path, plan: StoredPlan, files: Mapping[str, str], fresh: bool) -> Claim:
    """Claim a run directory for a plan, and make or refresh what stands in it besides evaluations.

    Args:
        run_dir: Made if it is not there.
        plan: The scan.
        files: Texts to keep in it, by name.
        fresh: Move a run directory that is there aside first.

    Raises:
        RunDirectoryError: It holds something else, another driver works in it, or it cannot be written.
    """
    try:
        if fresh and run_dir.exists():
            _move_aside(run_dir)
        check_identity(run_dir, plan)
        run_dir.resolve().mkdir(parents=True, exist_ok=True, mode=0o700)  # a link may lead nowhere yet
        if (free := free_bytes(run_dir)) < FLOOR_BYTES:
            raise RunDirectoryError(f"{run_dir}: only {free / 1e6:.1f} MB are free on its file system; a scan needs at "
                                    f"least {FLOOR_BYTES / 1e6:.0f} MB. Free some, or choose another --run-dir")
        claim = Claim.take(run_dir)
    except OSError as error:
        raise RunDirectoryError(f"{run_dir}: cannot be used: {error.strerror}") from error
    try:
        check_identity(run_dir, plan)  # another driver may have been here until a moment ago
        remove_leftovers(run_dir)
        write_atomically(run_dir / IDENTITY, _identity_text(plan).encode())
        for folder in FOLDERS:
            (run_dir / folder).mkdir(exist_ok=True, mode=0o700)
            remove_leftovers(run_dir / folder)
        for name, text in files.items():
            write_atomically(run_dir / name, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        claim.release()
        raise RunDirectoryError(f"{run_dir}: cannot be written: {error.strerror}") from error
    except BaseException:
        claim.release()
        raise
    return claim


def free_bytes(run_dir: Path) -> int:
    """Room on the file system of a run directory."""
    return shutil.disk_usage(run_dir).free


def _move_aside(run_dir: Path) -> None:
    """To ``<run_dir>.old-<UTC time>``. Its driver must be gone."""
    target = run_dir.resolve()
    if not (target / IDENTITY).exists() and not _is_blank(target):
        raise RunDirectoryError(f"{run_dir}: not a run directory of raydnnr, so --fresh does not touch it; choose "
                                "another --run-dir")
    Claim.take(target).release()
    old = first = target.with_name(f"{target.name}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    n = 1
    while old.exists():
        n += 1
        old = first.with_name(f"{first.name}-{n}")
    target.rename(old)


def _is_blank(folder: Path) -> bool:
    """Whether a folder is empty, or holds no more than what a driver leaves that was killed while it started."""
    return folder.is_dir() and all(
        entry.name == "driver.json" or (entry.name.startswith(".") and entry.name.endswith(".tmp"))
        for entry in folder.iterdir())


def _identity_text(plan: StoredPlan) -> str:
    return json.dumps({**Layout(plan).metadata, "physics": plan.physics}, indent=1, default=repr) + "\n"


def _differences(held: Any, ours: Any, prefix: str = "") -> list[str]:
    """What differs, as ``key.key: theirs, now ours``."""
    if not isinstance(held, dict) or not isinstance(ours, dict):
        return [f"{prefix or 'everything'}: {_short(held)} there, {_short(ours)} here"] if held != ours else []
    found: list[str] = []
    for key in [*held, *(k for k in ours if k not in held)]:
        where = f"{prefix}.{key}" if prefix else key
        if key not in held or key not in ours:
            found.append(f"{where}: only {'there' if key in held else 'here'}")
        else:
            found += _differences(held[key], ours[key], where)
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
