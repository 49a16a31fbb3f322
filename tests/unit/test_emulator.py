"""Emulator: what it says of points follows from its predicted observables, and survives a file."""

from __future__ import annotations

import functools
import io
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydnnr.errors import RunDirectoryError
from raydnnr.likelihoods import MAX_LOSS, Expuser, Gauss, Off, get_losses
from raydnnr.surrogates.emulator import Emulator, EnsembleTarget, constrained
from raydnnr.surrogates.ensemble import Ensemble
from raydnnr.surrogates.recalibration import Recalibration
from tests.unit.emulators import LIKELIHOODS, SHELL, emulator, radius, rows

seeds = st.integers(0, 2**32 - 1)
HALF = {"valid": lambda u: u[:, 0] < 0.6}


def points(n=40, n_params=2, seed=9):
    return np.random.default_rng(seed).random((n, n_params))


@functools.cache
def with_ensemble():
    """The second target is predicted by networks."""
    known, em = rows(60), emulator(60)
    scale = em.targets[1].scale
    t = scale.forward(known.observables[:, [0, 2]])
    regressor = Ensemble(neurons=6, steps=30).fit(known.u, t, known.ok, np.ones(60), 1)
    return replace(em, targets=[em.targets[0], replace(em.targets[1], model=EnsembleTarget(regressor, 1))])


@pytest.fixture(scope="module", params=["plain", "adapted", "bent", "half", "networks"])
def any_emulator(request):
    return {"plain": emulator, "adapted": lambda: emulator(adapted=True), "bent": lambda: emulator(bent=0.3), "half": lambda: emulator(120, **HALF),
            "networks": with_ensemble}[request.param]()


def test_the_nll_is_that_of_the_predicted_observables(any_emulator):
    u = points()
    t = any_emulator.mean(u)
    o = {name: np.full(len(u), math.nan) for name in LIKELIHOODS}
    for k, target in enumerate(any_emulator.targets):
        o[list(LIKELIHOODS)[target.column]] = target.scale.backward(t[:, k])
    expected = np.sum(list(get_losses(o, LIKELIHOODS).values()), axis=0)
    np.testing.assert_allclose(any_emulator.nll(t), expected, rtol=1e-12)


def test_predicted_observables_are_those_of_the_physics():
    u = points()
    prediction = emulator(150).predict(u)
    np.testing.assert_allclose(prediction.observables[:, 2], u.sum(axis=1), atol=0.01)
    far = radius(u) > 0.15  # a cone has a tip, which no smooth process follows
    np.testing.assert_allclose(prediction.observables[far, 0], radius(u)[far], atol=0.03)


def test_an_observable_without_likelihood_is_not_predicted(any_emulator):
    prediction = any_emulator.predict(points())
    assert np.isnan(prediction.observables[:, 1]).all()
    assert np.isnan(prediction.observables_std[:, 1]).all()
    assert np.isfinite(prediction.observables[:, [0, 2]]).all()
    assert (prediction.observables_std[:, [0, 2]] > 0).all()
    assert constrained(LIKELIHOODS) == [0, 2]
    assert constrained({"a": Off()}) == []


def test_predictions_are_in_order_and_within_bounds(any_emulator):
    p = any_emulator.predict(points())
    assert ((p.nll_low <= p.nll) & (p.nll <= p.nll_high)).all()
    for chance in (p.p_valid, p.p_good, any_emulator.p_good(points(), 3)):
        assert ((chance >= 0) & (chance <= 1)).all()
    assert (p.p_good <= p.p_valid + 1e-12).all()


def test_a_point_does_not_depend_on_its_neighbours(any_emulator):
    u = points()
    few, many = any_emulator.predict(u[:5]), any_emulator.predict(u)
    for name in vars(few):
        np.testing.assert_allclose(getattr(few, name), getattr(many, name)[:5], rtol=1e-4, atol=1e-4)


def test_good_inside_and_not_outside():
    em = emulator(200, likelihoods=SHELL, threshold=8.0)  # 4 sigma: r between 0.27 and 0.43
    angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    assert em.p_good(0.5 + 0.35 * circle, 1).min() > 0.95
    assert em.p_good(0.5 + 0.15 * circle, 1).max() < 0.05
    np.testing.assert_array_equal(em.score(0.5 + 0.35 * circle) < 8.0, True)
    np.testing.assert_array_equal(em.score(0.5 + 0.15 * circle) < 8.0, False)


def test_targets_that_are_not_asked_change_nothing(any_emulator):
    u = points(300)
    for threshold in (0.5, 8.0, 300.0):
        em = replace(any_emulator, threshold=threshold)
        np.testing.assert_array_equal(em.inside(u), em.score(u) < threshold)
        share = (em.nll(em.draws(u, 3)) < threshold).mean(axis=0) * em.p_valid(u)
        np.testing.assert_allclose(em.p_good(u, 3), share, atol=1e-12)


def test_wider_uncertainties_are_less_sure():
    em, u = emulator(200, likelihoods=SHELL, threshold=8.0), points(200)
    wide = replace(em, targets=[replace(em.targets[0], widen=1e4)])
    assert (em.predict(u).observables_std < wide.predict(u).observables_std).all()
    good = em.p_good(u, 1) > 0.9
    assert wide.p_good(u, 1)[good].mean() < em.p_good(u, 1)[good].mean()
    np.testing.assert_array_equal(wide.mean(u), em.mean(u))


def test_where_the_physics_refuses_is_learned():
    em, u = emulator(150, **HALF), points(300)
    clear = np.abs(u[:, 0] - 0.6) > 0.1
    says = em.p_valid(u) > 0.5
    assert (says == (u[:, 0] < 0.6))[clear].mean() > 0.97
    invalid = clear & (u[:, 0] > 0.6) & ~says
    assert (em.score(u[invalid]) > em.threshold).all()
    assert (em.p_good(u[invalid], 1) < 0.5).all()
    assert (emulator().p_valid(u) == 1).all()


@given(seeds)
@settings(max_examples=8)
def test_draws_are_the_same_for_the_same_seed_and_have_the_predicted_moments(seed):
    em, u = emulator(60, seed=seed), points(10, seed=seed)
    draws = em.draws(u, 5, 256)
    assert draws.shape == (256, 10, 2)
    assert em.draws(u, 5, 256).tobytes() == draws.tobytes()
    assert em.draws(u, 6, 256).tobytes() != draws.tobytes()
    mean, std = em.targets[0].model.moments(u)
    np.testing.assert_allclose((draws[:, :, 0].mean(axis=0) - mean) / std, 0.0, atol=0.05)
    np.testing.assert_allclose(draws[:, :, 0].std(axis=0) / std, 1.0, atol=0.05)


def differences(function, u, h=1e-4):
    steps = h * np.eye(u.shape[1])
    return np.stack([(function(u + s) - function(u - s)) / (2 * h) for s in steps], axis=-1)


def test_the_geometry_is_that_of_the_losses(any_emulator):
    u = points(20)
    u = u[(radius(u) > 0.2) & (np.abs(u - 0.5).max(axis=1) < 0.45)]
    g = any_emulator.geometry(u)
    networks = any(isinstance(t.model, EnsembleTarget) for t in any_emulator.targets)
    h = 2e-3 if networks else 1e-4  # networks answer in single precision
    jacobian = differences(any_emulator.mean, u, h)
    np.testing.assert_allclose(g.jacobian, jacobian, atol=0.05 if networks else 2e-3)
    np.testing.assert_allclose(g.loss, any_emulator.losses(any_emulator.mean(u)), rtol=1e-4, atol=1e-4)
    t, step = any_emulator.mean(u), 1e-5
    slope = (any_emulator.losses(t + step) - any_emulator.losses(t - step)) / (2 * step)
    np.testing.assert_allclose(g.slope, slope, rtol=2e-2, atol=0.05 * np.abs(slope).max())
    if any_emulator.validity is not None:
        np.testing.assert_allclose(g.label_gradient, differences(any_emulator.validity.mean, u), atol=1e-3)
    else:
        assert g.label is None


def test_the_curvature_of_a_measurement():
    em = emulator(likelihoods=SHELL)
    scale = em.targets[0].scale
    inside = em.geometry(np.array([[0.5, 0.84]]))  # where the cap of losses bends nothing
    assert inside.curvature[0, 0] == pytest.approx((scale.scale / 0.02) ** 2, rel=0.02)


def test_losses_count_from_the_lowest_possible():
    em = emulator(likelihoods={"r": Expuser()}, threshold=-0.5)
    em = replace(em, floors=np.array([-0.7]))
    assert em.excess == pytest.approx(0.2)
    g = em.geometry(points())
    assert (g.loss >= 0).all()
    np.testing.assert_allclose(g.loss, np.maximum(em.losses(em.mean(points())) + 0.7, 0.0))


@given(st.lists(st.booleans(), min_size=20, max_size=20).map(np.array))
@settings(max_examples=10)
def test_rows_of_a_geometry(mask):
    em = emulator(60, **HALF)
    a, b = em.geometry(points(20)), em.geometry(points(20, seed=3))
    mixed = a.put(mask, b.take(mask))
    for name, value in vars(mixed).items():
        np.testing.assert_array_equal(value[mask], getattr(b, name)[mask])
        np.testing.assert_array_equal(value[~mask], getattr(a, name)[~mask])


def test_the_threshold_can_be_changed():
    em = emulator(threshold=1.0)
    other = replace(em, threshold=3.0)
    assert other.threshold == 3.0
    assert (other.p_good(points(), 1) >= em.p_good(points(), 1)).all()


# ---- on disk


def same(a, b, u):
    return all(x.tobytes() == y.tobytes() for x, y in zip(vars(a.predict(u)).values(), vars(b.predict(u)).values(),
                                                          strict=True))


def test_what_is_saved_predicts_the_same(any_emulator, tmp_path):
    path = tmp_path / "surrogate.npz"
    learned = replace(any_emulator, recalibration=Recalibration(0.7, -0.2))
    learned.save(path)
    again = Emulator.load(path, LIKELIHOODS)
    assert same(learned, again, points())
    assert (again.threshold, again.recalibration) == (learned.threshold, learned.recalibration)
    again.save(tmp_path / "again.npz")
    assert same(again, Emulator.load(tmp_path / "again.npz", LIKELIHOODS), points())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.npz", "surrogate.npz"]


def test_likelihoods_may_have_changed_since(tmp_path):
    path = tmp_path / "surrogate.npz"
    emulator().save(path)
    other = Emulator.load(path, LIKELIHOODS | {"r": Gauss(mean=0.1, sigma=0.02)})
    assert not np.allclose(other.nll(other.mean(points())), emulator().nll(emulator().mean(points())))
    with pytest.raises(RunDirectoryError, match="other observables than the scan"):
        Emulator.load(path, SHELL)


class Trap:
    """What a pickle that is loaded would do."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def zipped(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def one_array(value):
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


BAD_FILES = {
    "empty": b"", "text": b"not a surrogate", "pickle": pickle.dumps(Trap()),
    "object array": zipped(t0=np.array([Trap()], dtype=object), threshold=np.array(1.0), floors=np.zeros(1)),
    "array": one_array(np.zeros(3)), "object": one_array(np.array([Trap()], dtype=object)),
    "nothing in it": zipped(), "wrong count": zipped(t0=np.zeros(3), threshold=np.array(1.0), floors=np.zeros(1)),
    "scalar": zipped(t0=np.array(3.0), threshold=np.array(1.0), floors=np.zeros(1)),
    "pickled networks": zipped(ensemble=np.frombuffer(pickle.dumps(Trap(), protocol=2), dtype=np.uint8), threshold=np.array(1.0),
                               floors=np.zeros(0)),
    "half the networks": zipped(ensemble=np.zeros(100, np.uint8), threshold=np.array(1.0), floors=np.zeros(0)),
    "words": zipped(t0=np.array(["a"] * 7), threshold=np.array(1.0), floors=np.zeros(1)),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_surrogate_is_an_error_and_runs_nothing(name, tmp_path):
    path = tmp_path / "surrogate.npz"
    path.write_bytes(BAD_FILES[name])
    with pytest.raises(RunDirectoryError, match="cannot be read .*; run the scan again to make it anew"):
        Emulator.load(path, LIKELIHOODS)
    assert not Trap.sprung


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        Emulator.load(tmp_path / "surrogate.npz", LIKELIHOODS)


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_an_error_or_harmless(tmp_path_factory, data):
    """Cut anywhere, or a byte changed: what is still read is what was written."""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    with_ensemble().save(path)
    stored = path.read_bytes()
    at, change = data.draw(st.integers(0, len(stored) - 1)), data.draw(st.integers(0, 255))
    path.write_bytes(stored[:at] if change == 0 else stored[:at] + bytes([stored[at] ^ change]) + stored[at + 1 :])
    try:
        again = Emulator.load(path, LIKELIHOODS)
    except RunDirectoryError:
        return
    assert same(again, with_ensemble(), points(5))


def test_losses_of_what_cannot_be_computed_are_the_highest():
    em = emulator()
    assert em.nll(np.full((1, 2), math.nan))[0] == pytest.approx(2 * MAX_LOSS)
