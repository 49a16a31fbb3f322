"""torchfit: what it minimises, when it stops, and which weights it leaves. By hand and by autograd alike."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn

from raydnnr.surrogates.networks import network_architecture_selector
from raydnnr.surrogates.torchfit import predict, torchfit


class Plain(nn.Module):
    """The same layers in a shape that only autograd trains."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return self.layers(x)


def layers(seed=0, activation=nn.ReLU, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [nn.Linear(2, 16), activation(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(16, 1)]
        return nn.Sequential(*parts)


PATHS = {"by hand": lambda **k: layers(**k), "autograd": lambda **k: Plain(layers(**k))}


@pytest.fixture(params=PATHS)
def make(request):
    return PATHS[request.param]


def data(n=64, seed=0):
    x = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return x, (x[:, :1] ** 2 + x[:, 1:]).sin()


def fit(model, x, y, lr=1e-2, epochs=30, batch_size=16, **settings):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    return torchfit(x, y, model, nn.MSELoss(), optimizer, epochs, batch_size, verbose=False, **settings)


def loss(model, x, y):
    with torch.no_grad():
        return float(nn.functional.mse_loss(model.eval()(x), y))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns(make):
    model, (x, y) = make(), data()
    before = loss(model, x, y)
    report = fit(model, x, y, epochs=200)
    assert loss(model, x, y) < 0.05 * before
    assert report.losses[-1] < 0.1 * report.losses[0]


def test_the_best_weights_come_back(make):
    """A learning rate that overshoots: the last epochs are worse than the best. Weights that are kept by reference
    would be the last ones, whose loss is another."""
    model, (x, y), held = make(), data(), data(seed=1)
    report = fit(model, x, y, lr=0.3, epochs=40, patience=1000, validation=held)
    watched = report.validation_losses
    assert len(watched) == 40
    assert report.best_epoch == 1 + int(np.argmin(watched)) < 40
    assert watched[-1] > 1.01 * min(watched)
    assert loss(model, *held) == pytest.approx(min(watched), rel=1e-4)
    assert report.validation_loss == min(watched)


def test_the_weights_are_those_of_a_training_that_ended_with_the_best_epoch(make):
    model, (x, y), held = make(), data(), data(seed=1)
    report = fit(model, x, y, lr=0.3, epochs=40, patience=1000, validation=held)
    again = make()
    fit(again, x, y, lr=0.3, epochs=report.best_epoch, patience=1000, validation=held)
    assert torch.equal(weights(again), weights(model))


def test_the_validation_loss_is_watched_and_not_the_training_loss(make):
    """Targets of the validation data that are the negative: what is learned makes it worse from the first epoch on."""
    model, (x, y) = make(), data()
    report = fit(model, x, y, epochs=200, patience=5, validation=(x, -3 * y))
    assert report.n_epochs < 20
    assert report.losses[-1] < report.losses[0]
    assert report.n_epochs == report.best_epoch + 5 or report.validation_losses[-1] >= min(report.validation_losses)


def test_without_validation_data_the_training_loss_is_watched(make):
    model, (x, y) = make(), data()
    report = fit(model, x, y, epochs=20)
    assert report.validation_losses == ()
    assert np.isnan(report.validation_loss)
    assert report.best_epoch == 1 + int(np.argmin(report.losses))


@pytest.mark.parametrize("patience", [1, 4])
def test_patience_counts_epochs_without_improvement(make, patience):
    """With a learning rate of nothing the first epoch is the only better one."""
    model, (x, y) = make(), data()
    report = fit(model, x, y, lr=0.0, epochs=50, patience=patience, validation=(x, y))
    assert report.n_epochs == 1 + patience
    assert report.best_epoch == 1


def test_an_improvement_below_min_delta_is_none(make):
    model, (x, y) = make(), data()
    report = fit(model, x, y, epochs=50, patience=3, min_delta=1e9, validation=(x, y))
    assert report.n_epochs == 4  # the first epoch is better than infinite
    assert report.best_epoch == 4  # and yet the lowest loss is what is kept


def test_the_same_seed_gives_the_same_weights_and_another_others(make):
    x, y = data()
    models = [make() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        torch.rand(3)  # whatever torch's own generator has done before
        fit(model, x, y, epochs=3, seed=seed)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


def test_dropout_follows_the_seed_too(make):
    x, y = data()
    models = [make(dropout=0.2, activation=nn.SiLU) for _ in range(2)]
    for model in models:
        torch.rand(3)
        fit(model, x, y, epochs=3, seed=5)
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_random_numbers_and_threads_of_others_are_left_alone(make):
    x, y = data()
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(make(dropout=0.2), x, y, epochs=2, threads=1)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_left_alone(make, training):
    model = make().train(training)
    fit(model, *data(), epochs=2)
    predict(model, data()[0])
    assert model.training is training


@pytest.mark.parametrize("settings", [{}, {"activation": nn.SiLU}])
@pytest.mark.parametrize("batch_size", [16, 24, 1000])
def test_by_hand_and_by_autograd_the_numbers_agree(settings, batch_size):
    x, y = data()
    a, b = layers(**settings), Plain(layers(**settings))
    reports = [fit(model, x, y, epochs=5, batch_size=batch_size, patience=99, validation=data(seed=1))
               for model in (a, b)]
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(reports[0].losses, reports[1].losses, rtol=1e-3)
    np.testing.assert_allclose(reports[0].validation_losses, reports[1].validation_losses, rtol=1e-3)


def test_a_training_may_go_on_with_its_optimizer(make):
    """Twice five epochs with one optimizer: its state is kept."""
    model, (x, y) = make(), data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        torchfit(x, y, model, nn.MSELoss(), optimizer, 5, 16, verbose=False)
    assert {float(state["step"]) for state in optimizer.state.values()} == {40.0}


def test_any_loss_and_any_optimizer(make):
    model, (x, y) = make(), data()
    before = float(nn.functional.l1_loss(predict(model, x), y))
    torchfit(x, y, model, nn.L1Loss(), torch.optim.SGD(model.parameters(), lr=0.05), 50, 16, verbose=False)
    assert float(nn.functional.l1_loss(predict(model, x), y)) < 0.7 * before


def test_arrays_lists_and_flat_targets_are_taken(make):
    x, y = data()
    a, b = make(), make()
    fit(a, x.double().numpy(), y[:, 0].double().numpy(), epochs=2)
    fit(b, x.tolist(), y, epochs=2)
    assert torch.equal(weights(a), weights(b))


@pytest.mark.parametrize(("x", "y"), [(torch.rand(5), torch.rand(5)), (torch.rand(5, 2), torch.rand(4))])
def test_rows_that_do_not_match_are_refused(make, x, y):
    with pytest.raises(ValueError, match="must be"):
        fit(make(), x, y)


def test_targets_that_are_no_numbers_leave_the_weights_as_they_were(make):
    model, (x, y) = make(), data()
    before = weights(model).clone()
    report = fit(model, x, torch.full_like(y, torch.nan), epochs=50, patience=3)
    assert report.best_epoch == 0
    assert report.n_epochs == 3
    assert torch.equal(weights(model), before)


def test_the_data_are_left_alone(make):
    x, y = data()
    kept = x.clone(), y.clone()
    fit(make(), x, y, epochs=2)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


def test_verbose_writes_a_line_per_epoch_to_the_log(caplog):
    x, y = data()
    with caplog.at_level(logging.INFO, "raydnnr"):
        fit(layers(), x, y, epochs=2)
        assert not caplog.records
        model = layers()
        torchfit(x, y, model, nn.MSELoss(), torch.optim.AdamW(model.parameters()), 2, 16)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == ["epoch 1", "epoch 2"]


def test_predictions_have_no_dropout_and_no_gradient(make):
    model = make(dropout=0.5)
    x = torch.rand(5000, 2)
    expected = copy.deepcopy(model).eval()(x).detach()
    torch.testing.assert_close(predict(model.train(), x), expected, rtol=1e-5, atol=1e-6)
    assert not predict(model, x).requires_grad
    assert predict(model, x[:0]).shape == (0, 1)


def test_the_network_suits_the_amount_of_data():
    few, many = network_architecture_selector(4999, 3, 2, 10), network_architecture_selector(5000, 3, 2, 10)
    assert [m.out_features for m in few if isinstance(m, nn.Linear)] == [10] * 5 + [2]
    assert [m.out_features for m in many if isinstance(m, nn.Linear)] == [20, 10, 5, 2]
    assert not any(isinstance(m, nn.Dropout) for m in few)
    assert [m.p for m in many if isinstance(m, nn.Dropout)] == [0.2] * 3
    assert network_architecture_selector(9)(torch.rand(4, 7)).shape == (4, 1)
