"""Training and prediction: `torchfit` beside a plain torch loop with a DataLoader, and scikit-learn's MLPRegressor.

    python benchmarks/torchfit.py [--quick] [--turns N]

10,000 points of 10 parameters, 250 epochs in batches of 500 without early stopping, then 1,000,000 predictions; the two
networks of the original scan (scikit-learn has no dropout and no SiLU: the same layers with ReLU stand in for the
second). Everything runs in one process, in turns, on one thread: beside the physics of a laptop there is no second one.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from common import table, versions
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from raydnnr.surrogates.networks import network_architecture_selector
from raydnnr.surrogates.torchfit import predict, torchfit

N, P, BATCH, N_CANDIDATES = 10_000, 10, 500, 1_000_000


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in [-1, 1], a smooth target, candidates."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (N, P)).astype(np.float32)
    y = (np.sin(3 * x[:, :5]).sum(axis=1) + x[:, 5] * x[:, 6]).astype(np.float32)[:, None]
    return x, (y - y.mean()) / y.std(), rng.uniform(-1, 1, (N_CANDIDATES, P)).astype(np.float32)


def network(deep: bool) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """The network for few points (five ReLU layers) or for many (the SiLU funnel with dropout), and its optimizer."""
    torch.manual_seed(0)
    model = network_architecture_selector(100 if deep else 10_000, P)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)


def ours(x: np.ndarray, y: np.ndarray, candidates: np.ndarray, epochs: int, deep: bool) -> tuple[float, float]:
    """Seconds of training and of prediction."""
    model, optimizer = network(deep)
    start = time.perf_counter()
    torchfit(x, y, model, nn.MSELoss(), optimizer, epochs, BATCH, verbose=False, patience=epochs + 1)
    middle = time.perf_counter()
    predict(model, candidates)
    return middle - start, time.perf_counter() - middle


def plain(x: np.ndarray, y: np.ndarray, candidates: np.ndarray, epochs: int, deep: bool) -> tuple[float, float]:
    """The loop of the tutorials."""
    model, optimizer = network(deep)
    criterion = nn.MSELoss()
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=BATCH, shuffle=True)
    start = time.perf_counter()
    model.train()
    for _ in range(epochs):
        for x_batch, y_batch in loader:
            optimizer.zero_grad()
            loss = criterion(model(x_batch), y_batch)
            loss.backward()
            optimizer.step()
    middle = time.perf_counter()
    model.eval()
    with torch.no_grad():
        model(torch.from_numpy(candidates))
    return middle - start, time.perf_counter() - middle


def sklearn(x: np.ndarray, y: np.ndarray, candidates: np.ndarray, epochs: int, deep: bool) -> tuple[float, float]:
    """MLPRegressor with the same layers and as many epochs."""
    layers = (100,) * 5 if deep else (200, 100, 50)
    model = MLPRegressor(hidden_layer_sizes=layers, batch_size=BATCH, max_iter=epochs, n_iter_no_change=epochs + 1,
                         tol=0.0, alpha=1e-4)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it did not converge: it was not meant to
        model.fit(x.astype(np.float64), y[:, 0].astype(np.float64))
    middle = time.perf_counter()
    model.predict(candidates.astype(np.float64))
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="25 epochs")
    p.add_argument("--turns", type=int, default=1)
    arguments = p.parse_args()
    epochs, turns = 25 if arguments.quick else 250, arguments.turns
    x, y, candidates = problem()
    torch.set_num_threads(1)
    threadpool_limits(1)
    rows = []
    methods: dict[str, Callable[..., tuple[float, float]]] = {"torchfit": ours, "plain": plain, "scikit-learn": sklearn}
    for deep in (False, True):
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for _ in range(turns):
            for name, method in methods.items():
                times[name].append(method(x, y, candidates, epochs, deep))
        mine = [sum(t) for t in times["torchfit"]]
        for name, found in times.items():
            ratio = statistics.median(a / sum(b) for a, b in zip(mine, found, strict=True))
            train, predicted = (statistics.median(t[k] for t in found) for k in (0, 1))
            rows.append(["5 x 100 ReLU" if deep else "200-100-50 SiLU, dropout", name, f"{train:.1f}",
                         f"{predicted:.2f}", f"{ratio:.2f}"])
    print(versions() + "\n")
    print(table(["network", "by", "training, s", "prediction, s", "torchfit / this"], rows))


if __name__ == "__main__":
    main()
