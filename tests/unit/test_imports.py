"""What is loaded, and what is not: a worker must stay small, a help text must come at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "pandas", "sklearn", "scipy", "pyarrow", "numpy", "rich", "cloudpickle")


def loaded_by(code):
    """Which of `HEAVY` are loaded after some code, in a new interpreter."""
    ask = f"{code}\nimport sys\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


HELP = """\
import runpy, sys
sys.argv[1:] = ['--help']
try:
    runpy.run_module({!r}, run_name='__main__')
except SystemExit:
    pass
"""


@pytest.mark.parametrize(("code", "not_loaded"), [
    ("import raydnnr", HEAVY),
    ("import raydnnr; dir(raydnnr); raydnnr.__version__", HEAVY),
    ("import raydnnr.errors", HEAVY),
    (HELP.format("raydnnr.run"), HEAVY),
    (HELP.format("raydnnr.cli"), HEAVY),
    ("import raydnnr.tools.worker", ("torch", "ray", "pandas", "sklearn", "scipy", "pyarrow")),
    ("import raydnnr.tools.kinds", ("torch", "ray", "pandas", "sklearn", "scipy", "pyarrow")),
    ("import raydnnr.evaluator", ("torch", "ray", "pandas", "sklearn", "scipy", "pyarrow")),
    ("import raydnnr.plan", ("torch", "ray", "pandas", "sklearn", "scipy", "pyarrow")),
    ("import raydnnr.config", ("torch", "ray", "pandas", "sklearn", "scipy")),
    ("from raydnnr import Plan, MlsDnnr, Parameter, PythonFunction", ("torch", "ray", "pandas", "sklearn", "scipy")),
    ("import raydnnr.scan", ("torch", "ray", "sklearn", "scipy")),  # pyarrow loads pandas when it makes an array
    ("import raydnnr.cli", HEAVY),
])
def test_nothing_heavy_is_loaded_before_it_is_used(code, not_loaded):
    assert not loaded_by(code) & set(not_loaded)


@pytest.mark.parametrize("code", [
    "import cloudpickle; from tests.unit.plans import square; cloudpickle.loads(cloudpickle.dumps(square().toolchain))",
])
def test_a_toolchain_that_arrives_loads_nothing_heavy(code):
    assert not loaded_by(code) & {"torch", "ray", "pandas", "sklearn", "scipy", "pyarrow"}


def test_every_public_name_is_there():
    import raydnnr

    assert set(dir(raydnnr)) == set(raydnnr.__all__)
    for name in raydnnr.__all__:
        assert getattr(raydnnr, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Guass'"):
        _ = raydnnr.Guass


def test_the_package_is_imported_at_once():
    """0.1 s is what is promised; some 5 ms are needed."""
    ask = "import time; t = time.process_time(); import raydnnr; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True, timeout=60)
    assert float(done.stdout) < 0.1


def test_help_comes_at_once():
    """Below 0.3 s of CPU on a laptop; a loaded torch would be 2 s."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "raydnnr.run", "--help"], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
