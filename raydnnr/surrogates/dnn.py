"""DNN: points of the unit cube -> targets, by scaling, a network and its training."""

from __future__ import annotations

import io
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raydnnr.evaluation import TrainingReport
from raydnnr.surrogates.networks import network_architecture_selector
from raydnnr.surrogates.torchfit import predict, torchfit

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

MIN_VALIDATION = 10  # rows; below, the training loss is watched


@dataclass(frozen=True, kw_only=True)
class Dnn:
    """Settings of a deep neural network regressor; see `raydnnr.search.mls_dnnr.MlsDnnr` for their meaning."""

    neurons: int = 100
    epochs: int = 250
    batch_size: int = 500
    learning_rate: float = 1e-2
    weight_decay: float = 1e-4
    patience: int = 10
    min_delta: float = 1e-5
    validation_fraction: float = 0.1
    verbose: int = 0

    def fit(self, u: Array, y: Array, seed: int) -> DnnRegressor:
        """Train a network.

        Args:
            u: Points of the unit cube (n, P).
            y: Targets (n, T), finite.
            seed: Of the weights, the validation split and the order of the batches; training uses one thread, so that
                the same seed gives the same network on any machine load.
        """
        start = time.monotonic()
        generator = torch.Generator().manual_seed(seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        center, scale = _robust_scale(y)
        x_NP = torch.from_numpy((2.0 * u - 1.0).astype(np.float32))
        y_NT = torch.from_numpy(((y - center) / scale).astype(np.float32))
        order = torch.randperm(len(u), generator=generator)
        n_validation = int(self.validation_fraction * len(u))
        n_validation = n_validation if n_validation >= MIN_VALIDATION else 0
        held, used = order[:n_validation], order[n_validation:]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = network_architecture_selector(len(u), u.shape[1], y.shape[1], self.neurons).to(device)
        fit = torchfit(
            x_NP[used], y_NT[used], network, nn.MSELoss(),
            torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay),
            self.epochs, self.batch_size, verbose=self.verbose > 0, patience=self.patience, min_delta=self.min_delta,
            validation=(x_NP[held], y_NT[held]) if n_validation else None, seed=seed, threads=1,
        )
        report = TrainingReport(len(u), fit.n_epochs, fit.loss, fit.validation_loss, time.monotonic() - start, device)
        return DnnRegressor(network, center, scale, report)


@dataclass(frozen=True)
class DnnRegressor:
    """A trained network with its scaling."""

    network: nn.Sequential
    center: Array
    scale: Array
    report: TrainingReport

    def predict(self, u: Array) -> Array:
        """Targets (C, T) for points of the unit cube (C, P)."""
        scaled = predict(self.network, (2.0 * u - 1.0).astype(np.float32), threads=1)
        return scaled.double().cpu().numpy() * self.scale + self.center

    def save(self, path: Path) -> None:
        """Weights and scaling, as tensors only."""
        sizes = [layer.weight.shape[::-1] for layer in self.network if isinstance(layer, nn.Linear)]
        state = {"weights": self.network.state_dict(), "center": torch.from_numpy(self.center),
                 "scale": torch.from_numpy(self.scale), "sizes": torch.tensor(sizes),
                 "n_points": torch.tensor(self.report.n_points)}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        path.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> DnnRegressor:
        """What `save` wrote; nothing in the file is executed."""
        state = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
        sizes, n_points = state["sizes"].tolist(), int(state["n_points"])
        neurons = sizes[0][1] if len(sizes) == 6 else sizes[0][1] // 2
        network = network_architecture_selector(n_points, sizes[0][0], sizes[-1][1], neurons)
        network.load_state_dict(state["weights"])
        report = TrainingReport(n_points, 0, float("nan"), float("nan"), 0.0)
        return cls(network, state["center"].numpy(), state["scale"].numpy(), report)


def _robust_scale(y: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each target, 1 where it does not vary."""
    scale = y.std(axis=0)
    return y.mean(axis=0), np.where(scale > 0, scale, 1.0)
