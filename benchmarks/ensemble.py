"""Surrogate `ensemble`: how well it predicts what it has not seen, how honest its uncertainties are, what it costs.

    python benchmarks/ensemble.py [--quick] [--seeds N]

Functions of this file alone, of 2 to 20 parameters, six outputs each; errors are root mean squares on 2,000 new points,
in units of the outputs' standard deviation. Beside it scikit-learn's Gaussian process (Matern 5/2, a length for each
parameter, fitted on 300 rows and conditioned on all; the first two outputs) and MLPRegressor with as many neurons.
One thread each; the seconds are the processor's.
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
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from raydnnr.surrogates.ensemble import Ensemble, EnsembleRegressor

T, N_NEW, GP_ROWS = 6, 2000, 300
CASES = [("waves", 3, 300), ("waves", 6, 1000), ("product", 2, 150), ("product", 8, 1000), ("product", 20, 2000),
         ("kink", 5, 500), ("kink", 12, 1500), ("decades", 4, 400), ("decades", 10, 1000), ("masses", 8, 1000),
         ("masses", 15, 600)]
Function = Callable[[np.ndarray], np.ndarray]


def waves(p: int, rng: np.random.Generator) -> Function:
    """A smooth random function."""
    a, phase, c = rng.normal(size=(40, p)) * 3 / np.sqrt(p), rng.uniform(0, 2 * np.pi, 40), rng.normal(size=(40, T))
    return lambda x: np.cos(x @ a.T + phase) @ c


def product(p: int, rng: np.random.Generator) -> Function:
    """Products of three sines, other parameters for each output, and a slope."""
    which, a = [rng.permutation(p)[:min(p, 3)] for _ in range(T)], rng.uniform(0.5, 2, size=(T, 3))
    slope = 0.3 * rng.normal(size=(p, T)) / np.sqrt(p)
    return lambda x: x @ slope + np.column_stack(
        [np.prod(np.sin(a[t, :len(k)] * (1.5 * x[:, k] + 1.8)), axis=1) for t, k in enumerate(which)])


def kink(p: int, rng: np.random.Generator) -> Function:
    """Absolute values, maxima, squares."""
    a, b, c = rng.normal(size=(p, T)) / np.sqrt(p), rng.normal(size=(p, T)) / np.sqrt(p), 0.2 * rng.normal(size=T)
    return lambda x: np.abs(x @ a - c) + np.maximum(x @ b, x @ a[:, ::-1]) + 0.3 * (x @ b) ** 2


def decades(p: int, rng: np.random.Generator) -> Function:
    """Exponentials over decades, under an inverse hyperbolic sine, as a search would transform them."""
    a, b = 4 * rng.normal(size=(p, T)) / np.sqrt(p), 3 * rng.normal(size=(p, T)) / np.sqrt(p)
    return lambda x: np.arcsinh(np.exp(x @ a) * (1 + 0.5 * np.sin(x @ b)))


def masses(p: int, rng: np.random.Generator) -> Function:
    """Logarithms of sums of squares, and resonances."""
    c, d = rng.uniform(0.2, 1.5, size=(T, p)), 0.8 * rng.normal(size=(T, p)) / np.sqrt(p)
    return lambda x: np.column_stack([
        np.log(((0.6 + x / 2) ** 2 * c[t] ** 2).mean(axis=1) + 0.05)
        + 0.3 * (x @ d[t]) / (0.15 + 3 * (x[:, t % p] / 2 + 0.1) ** 2) for t in range(T)])


FUNCTIONS = {"waves": waves, "product": product, "kink": kink, "decades": decades, "masses": masses}


def problem(name: str, p: int, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Points and targets to learn from, of unit scale, and to test on."""
    rng = np.random.default_rng([seed, p, n, *map(ord, name)])
    f = FUNCTIONS[name](p, rng)
    u, v = rng.random((n, p)), rng.random((N_NEW, p))
    y, z = f(2 * u - 1), f(2 * v - 1)
    return u, (y - y.mean(axis=0)) / y.std(axis=0), v, (z - y.mean(axis=0)) / y.std(axis=0)


def rms(residual: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt((residual**2).mean()))


def timed(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What it returns, and the processor's seconds."""
    start = time.process_time()
    value = call()
    return value, time.process_time() - start


def gp(u: np.ndarray, y: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Of the first two outputs."""
    out = []
    for column in y[:, :2].T:
        kernel = ConstantKernel(1.0) * Matern(np.ones(u.shape[1]), (1e-2, 1e3), nu=2.5) + WhiteKernel(1e-4, (1e-8, 1.0))
        fitted = GaussianProcessRegressor(kernel).fit(u[:GP_ROWS], column[:GP_ROWS])
        out.append(GaussianProcessRegressor(fitted.kernel_, optimizer=None).fit(u, column).predict(v))
    return np.column_stack(out)


def mlp(u: np.ndarray, y: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One network, early stopping."""
    model = MLPRegressor(hidden_layer_sizes=(96, 96), max_iter=500, early_stopping=True, n_iter_no_change=30,
                         learning_rate_init=3e-3, random_state=0)
    return model.fit(2 * u - 1, y).predict(2 * v - 1)


def fit(u: np.ndarray, y: np.ndarray, seed: int, start: EnsembleRegressor | None = None) -> EnsembleRegressor:
    """With default settings."""
    return Ensemble().fit(u, y, None, np.ones(len(u)), seed, start)


def accuracy(seeds: int) -> list[list[object]]:
    """One row for each problem: medians over the seeds."""
    rows: list[list[object]] = []
    for name, p, n in CASES:
        found: dict[str, list[float]] = {}

        def note(found: dict[str, list[float]] = found, **figures: float) -> None:
            for key, value in figures.items():
                found.setdefault(key, []).append(value)

        for seed in range(seeds):
            u, y, v, z = problem(name, p, n, seed)
            start = time.process_time()
            model = fit(u, y, seed)
            note(seconds=time.process_time() - start)
            mean, std = model.moments(v)
            score = np.abs(z - mean) / std
            note(ensemble=rms(mean - z), width=float(np.median(score) / 0.6745), inside=float((score < 2).mean()))
            note(two=rms((mean - z)[:, :2]), gp=rms(gp(u, y, v) - z[:, :2]), mlp=rms(mlp(u, y, v) - z))
            before = fit(u[: int(n / 1.15)], y[: int(n / 1.15)], seed)
            start = time.process_time()
            warm = fit(u, y, seed + 100, before)
            note(warm_seconds=time.process_time() - start, warm=rms(warm.moments(v)[0] - z))
        m = {key: statistics.median(values) for key, values in found.items()}
        rows.append([f"{name}, {p}", n, *(f"{m[k]:.3f}" for k in ("ensemble", "mlp", "two", "gp", "warm")),
                     *(f"{m[k]:.2f}" for k in ("width", "inside", "seconds", "warm_seconds"))])
        print(*rows[-1], flush=True)
    return rows


def costs() -> list[list[object]]:
    """Seconds against the number of rows, 8 parameters."""
    rows: list[list[object]] = []
    for n in (150, 500, 1000, 2000, 5000, 20_000):
        u, y, v, z = problem("masses", 8, n, 0)
        start = time.process_time()
        model = fit(u, y, 0)
        middle = time.process_time()
        warm = fit(u, y, 1, model)
        end = time.process_time()
        _, predicted = timed(lambda model=model: model.moments(np.random.default_rng(0).random((100_000, 8)))[0])
        rows.append([n, f"{middle - start:.2f}", f"{end - middle:.2f}", f"{predicted:.2f}",
                     f"{rms(model.moments(v)[0] - z):.3f}", f"{rms(warm.moments(v)[0] - z):.3f}"])
        print(*rows[-1], flush=True)
    return rows


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="the costs only")
    p.add_argument("--seeds", type=int, default=1)
    arguments = p.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    warnings.simplefilter("ignore")  # scikit-learn: lengths at their bounds, steps at their end
    spent = costs()
    found = [] if arguments.quick else accuracy(arguments.seeds)
    print("\n" + versions() + "\n")
    print(table(["rows", "training, s", "again, warm, s", "100,000 predictions, s", "error", "error, warm"], spent))
    print()
    print(table(["function, parameters", "rows", "ensemble", "MLPRegressor", "ensemble, 2 outputs", "Gaussian process",
                 "ensemble, warm", "error / std, median over normal", "within 2 std", "training, s", "warm, s"], found))


if __name__ == "__main__":
    main()
