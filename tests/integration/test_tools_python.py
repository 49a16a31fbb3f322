"""Python functions, good and bad, in child processes: what is wrong with one point is that point's alone."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from raydnnr.evaluation import Inputs, Observable, Status
from raydnnr.likelihoods import Gauss
from raydnnr.space import Parameter, ParameterSpace
from raydnnr.tools.base import Toolchain, WorkerDied
from raydnnr.tools.python_function import PythonFunction
from raydnnr.tools.slot import ScratchRoot, Slot
from raydnnr.tools.worker_process import MAX_LOG_BYTES

FAKES = Path(__file__).parents[1] / "fakes"
SPACE = ParameterSpace((Parameter.of("x", low=0, high=1), Parameter.of("y", low=0, high=1)))
GAUSS = Gauss(mean=0, sigma=1)
GOOD, BAD = np.array([0.5, 0.6]), np.array([0.25, 0.6])
RNG = np.random.default_rng(1)


@pytest.fixture
def slot(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    yield slot
    slot.close()
    root.close()


def chain(function: object, *, keys: tuple[str, ...] = ("r", "s"), **settings: object) -> Toolchain:
    if isinstance(function, str) and ":" not in function:
        function = f"physics:{function}"
    usual = {"name": "mine", "function": function, "path": (str(FAKES),), "timeout_s": 20.0}
    tool = PythonFunction(**{**usual, **settings})
    observables = tuple(Observable(name=key, source=tool.address({}, key), likelihood=GAUSS) for key in keys)
    return Toolchain((tool,), observables, Inputs(SPACE))


def disc(x) -> np.ndarray:
    x = np.atleast_2d(x)
    return np.column_stack([np.hypot(*(x.T - 0.5)), x.sum(axis=1)])


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(what, timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def pid_of(slot: Slot) -> int:
    return int(chain("identity", keys=("pid",), name="who").evaluate(GOOD, slot).values[0])


def test_a_point(slot):
    result = chain("disc").evaluate(GOOD, slot)
    assert (result.status, result.reason, result.files) == (Status.OK, "", {})
    np.testing.assert_allclose(result.values, disc(GOOD)[0])


def test_it_runs_in_one_child_with_one_thread_in_the_scratch_directory(slot):
    (slot.scratch / "left.over").write_text("")
    both = [chain("identity", keys=("pid", "threads", "files")).evaluate(GOOD, slot).values for _ in range(2)]
    assert both[0].tolist() == both[1].tolist()
    assert both[0][0] != os.getpid() and both[0][1:].tolist() == [1, 0]


def test_functions_given_by_value_may_use_what_is_around_them(slot):
    factor = 3.0
    result = chain(lambda point: {"r": factor * point["x"], "s": np.float32(point["y"])}).evaluate(GOOD, slot)
    assert result.values.tolist() == [1.5, float(np.float32(0.6))]


@pytest.mark.parametrize(
    ("function", "status", "reason"),
    [
        ("raises", Status.FAILED, "mine: ValueError: no minimum\nTraceback"),
        ("leaves", Status.FAILED, "mine: SystemExit: that is all\nTraceback"),
        ("eats_memory", Status.FAILED, "mine: MemoryError\nTraceback"),
        ("refuses", Status.INVALID, "mine: tachyon"),
        ("nan", Status.INVALID, "r is nan"),
    ],
)
def test_functions_that_raise_keep_their_child(slot, function, status, reason):
    bad_chain = chain(function, memory_limit_gib=0.5)
    bad, good = bad_chain.evaluate(BAD, slot), bad_chain.evaluate(GOOD, slot)
    assert bad.status == status and bad.reason.startswith(reason)
    if "Traceback" in reason:
        assert f"in {function}" in bad.reason and "worker.py" not in bad.reason
    np.testing.assert_allclose(good.values, disc(GOOD)[0])


@pytest.mark.parametrize(
    ("function", "how"),
    [
        ("exits", "code 7"),
        ("kills_itself", "signal 9 (SIGKILL)\nabout to be killed"),
        ("segfaults", "signal 11 (SIGSEGV)\nFatal Python error: Segmentation fault"),
        ("dies_beside_a_child", "code 7"),
    ],
)
def test_a_death_says_how_and_the_next_point_has_a_new_child(slot, function, how):
    bad_chain = chain(function)
    for _ in range(2):
        with pytest.raises(WorkerDied) as died:
            bad_chain.evaluate(BAD, slot)
        assert str(died.value).startswith(f"mine: its Python process died of {how}")
        np.testing.assert_allclose(bad_chain.evaluate(GOOD, slot).values, disc(GOOD)[0])


def test_a_hang_is_failed_with_the_line_it_hung_at(slot):
    bad_chain = chain("hangs", timeout_s=0.7)
    start = time.monotonic()
    result = bad_chain.evaluate(BAD, slot)
    assert (result.status, result.reason.split("\n")[0]) == (Status.FAILED, "mine: timed out after 0.7 s")
    assert "in wait_for_ever" in result.reason
    assert time.monotonic() - start < 30
    np.testing.assert_allclose(bad_chain.evaluate(GOOD, slot).values, disc(GOOD)[0])


def test_what_a_hanging_function_forked_dies_with_it(slot):
    result = chain("hangs_with_a_child", timeout_s=0.7).evaluate(BAD, slot)
    assert result.reason.startswith("mine: timed out")
    child = int((slot.scratch / "child.pid").read_text())
    assert wait_until(lambda: not is_running(child))


@pytest.mark.parametrize(
    ("function", "keys", "reason"),
    [
        ("disc", ("rr",), "mine: the function returned no 'rr'; it returned r, s. Did you mean 'r'?"),
        ("wrong_types", ("s",), "mine: 's' in what the function returned is a list, not a number"),
        ("wrong_types", ("t",), "mine: 't' in what the function returned is a complex, not a number"),
        ("returns_a_tuple", ("r",), "mine: the function returned a tuple, not a dict of observables"),
    ],
)
def test_functions_that_return_something_else(slot, function, keys, reason):
    result = chain(function, keys=keys).evaluate(GOOD, slot)
    assert (result.status, result.reason) == (Status.FAILED, reason)


def test_numbers_as_texts_are_numbers(slot):
    assert chain("wrong_types", keys=("r",)).evaluate(GOOD, slot).values.tolist() == [0.5]


def test_printing_does_no_harm_and_is_not_kept_for_ever(slot):
    noisy = chain("prints_a_lot")
    for _ in range(6):
        np.testing.assert_allclose(noisy.evaluate(GOOD, slot).values, disc(GOOD)[0])
    log = slot.log("mine")
    assert 0 < log.stat().st_size <= MAX_LOG_BYTES + 1.1e6


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("no_such_module:f", "there is no module 'no_such_module' in"),
        ("physics:disk", "has no 'disk'. Did you mean 'disc'?"),
        ("physics:os", "is a module, not a function"),
        ("bad_import:f", "No module named 'no_such_package_anywhere'"),
        ("exit_import:f", "Python ended while it imported the function"),
    ],
)
def test_what_cannot_be_imported_is_found_before_anything_starts(slot, function, problem):
    broken = chain(function)
    (found,) = broken.check()
    assert found.startswith("tools.mine: ") and problem in found
    assert function.partition(":")[0] in found or "exit_import" in function
    result = broken.evaluate(GOOD, slot)
    many = chain(function, vectorized=True).evaluate_many(np.array([GOOD, BAD]), slot)
    assert result.status == Status.FAILED and problem in result.reason
    assert many.status.tolist() == [Status.FAILED] * 2 and problem in many.reason[0]


def test_what_can_be_imported_passes_the_check():
    assert chain("disc").check() == []
    assert "physics" not in sys.modules


def test_a_worker_is_light(slot):
    """Scalar physics that needs nothing loads nothing: no NumPy, no Ray, no torch."""
    def loaded(point):
        import sys

        heavy = {"numpy", "ray", "torch", "pandas", "sklearn", "scipy"}
        with open("/proc/self/status") as status:
            rss = next(line.split()[1] for line in status if line.startswith("VmRSS"))
        return {"r": len(heavy & set(sys.modules)), "s": rss}

    heavy, rss_kib = chain(loaded).evaluate(GOOD, slot).values
    assert heavy == 0 and rss_kib < 40 << 10


def test_the_path_of_the_parent_is_not_forced_on_programs_the_physics_starts(slot, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def python_path(point):
        import os

        return {"r": "PYTHONPATH" in os.environ, "s": 0.0}

    assert chain(python_path).evaluate(GOOD, slot).values.tolist() == [0.0, 0.0]


# ---- vectorised

POINTS = RNG.random((200, 2))
GUILTY = (POINTS[:, 0] > 0.2) & (POINTS[:, 0] < 0.3)
GUILTY &= np.cumsum(GUILTY) <= 3
POINTS[(POINTS[:, 0] > 0.2) & (POINTS[:, 0] < 0.3) & ~GUILTY, 0] = 0.9


def test_a_batch_is_one_call(slot):
    result = chain("disc_many", vectorized=True).evaluate_many(RNG.random((100_000, 2)), slot)
    assert not result.status.any() and result.attempts.max() == 1 and not any(result.reason)
    np.testing.assert_allclose(chain("disc_many", vectorized=True).evaluate_many(POINTS, slot).values, disc(POINTS))


def test_a_single_point_of_a_vectorised_function(slot):
    result = chain("disc_many", vectorized=True).evaluate(GOOD, slot)
    np.testing.assert_allclose(result.values, disc(GOOD)[0])
    missing = chain("disc_many", vectorized=True, keys=("rr",)).evaluate(GOOD, slot)
    assert missing.reason == "mine: the function returned no 'rr'; it returned r, s. Did you mean 'r'?"


@pytest.mark.parametrize(
    ("function", "status", "reason", "attempts", "settings"),
    [
        ("raises_many", Status.FAILED, "mine: ValueError: no minimum\nTraceback", 1, {}),
        ("refuses_many", Status.INVALID, "mine: tachyon", 1, {}),
        ("exits_many", Status.FAILED, "mine: its Python process died of code 7", 2, {}),
        ("kills_itself_many", Status.FAILED, "mine: its Python process died of signal 9 (SIGKILL)", 2, {}),
        ("eats_memory_many", Status.FAILED, "mine: MemoryError\nTraceback", 1, {"memory_limit_gib": 0.5}),
        ("hangs_many", Status.FAILED, "mine: timed out after 0.5 s", 1, {"timeout_s": 0.5}),
    ],
)
def test_a_bad_batch_is_narrowed_to_exactly_the_bad_points(slot, function, status, reason, attempts, settings):
    """Three of 200 points are guilty."""
    result = chain(function, vectorized=True, **settings).evaluate_many(POINTS, slot)

    assert (result.status != Status.OK).tolist() == GUILTY.tolist()
    assert set(result.status[GUILTY]) == {status}
    assert all(text.startswith(reason) for text in np.array(result.reason)[GUILTY])
    assert not any(np.array(result.reason)[~GUILTY])
    assert set(result.attempts[GUILTY]) == {attempts} and set(result.attempts[~GUILTY]) == {1}
    np.testing.assert_allclose(result.values[~GUILTY], disc(POINTS)[~GUILTY])
    assert np.isnan(result.values[GUILTY]).all()


def test_an_innocent_point_whose_worker_was_killed_from_outside_is_tried_again(slot):
    """As Ray's memory monitor or an impatient colleague would."""
    def once(columns):
        import os
        import pathlib

        flag = pathlib.Path("killed")
        if not flag.exists():
            flag.write_text("")
            os.kill(os.getpid(), 9)
        return {"r": columns["x"], "s": columns["y"]}

    result = chain(once, vectorized=True).evaluate_many(np.array([GOOD]), slot)
    assert (result.status.tolist(), result.attempts.tolist()) == ([Status.OK], [2])


@pytest.mark.parametrize(
    ("function", "keys", "reason"),
    [
        ("disc_many", ("r", "ss"), "mine: the function returned no 'ss'; it returned r, s. Did you mean 's'?"),
        ("short_many", ("r",), "mine: 'r' in what the function returned has shape (199,), not one value per point"),
    ],
)
def test_vectorised_functions_that_return_something_else(slot, function, keys, reason):
    result = chain(function, vectorized=True, keys=keys).evaluate_many(POINTS, slot)
    assert set(result.status) == {Status.FAILED} and set(result.reason) == {reason}


def test_a_killed_slot_gives_up_at_once(slot):
    import threading

    bad_chain = chain("hangs_many", vectorized=True, timeout_s=60.0)
    threading.Timer(1.0, slot.kill).start()
    start = time.monotonic()
    result = bad_chain.evaluate_many(POINTS, slot)
    assert time.monotonic() - start < 30  # not the 60
    assert set(result.status) == {Status.FAILED}


def test_without_pidfd_deaths_and_time_outs_are_still_seen(slot, monkeypatch):
    from raydnnr.tools import process

    monkeypatch.setattr(process, "_pidfd", lambda pid: None)
    with pytest.raises(WorkerDied):
        chain("dies_beside_a_child").evaluate(BAD, slot)
    assert chain("hangs", timeout_s=0.5, name="other").evaluate(BAD, slot).reason.startswith("other: timed out")
    np.testing.assert_allclose(chain("disc", name="third").evaluate(GOOD, slot).values, disc(GOOD)[0])


def test_closing_a_slot_ends_its_children(tmp_path):
    root = ScratchRoot.create(str(tmp_path))
    slot = Slot(0, root)
    pid = pid_of(slot)
    assert is_running(pid)
    slot.close()
    assert not is_running(pid)
    root.close()
