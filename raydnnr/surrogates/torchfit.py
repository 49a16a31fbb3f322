"""torchfit: the training loop. Early stopping on data the network does not see, and the best weights given back.

Shapes: **N** rows, **B** rows of a batch, **P** inputs, **T** targets.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from raydnnr.surrogates.dense import DenseNet, FlatAdamW, Layer, Rows, dense_layers

log = logging.getLogger(__name__)

THREADS_FROM_FLOP = 1e9  # of one training step: below, threads wait for each other, and long on a busy machine
CUDA_BLOCK = 65_536  # rows predicted at once where memory is no cache

Data = Tensor | NDArray[np.floating[Any]] | ArrayLike
Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FitReport:
    """How a training went.

    Attributes:
        losses: Training loss of each epoch (mean over its batches, while the weights change).
        validation_losses: Loss on the validation data after each epoch; empty without such data.
        best_epoch: The epoch after which the weights were kept, from 1; 0 if none was better than infinite, and the
            model has the weights it came with.
        seconds: Wall time.
    """

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    best_epoch: int
    seconds: float

    @property
    def n_epochs(self) -> int:
        """Epochs done."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """Training loss of the best epoch; NaN if there was none."""
        return self.losses[self.best_epoch - 1] if self.best_epoch else math.nan

    @property
    def validation_loss(self) -> float:
        """Validation loss of the weights the model has now; NaN without validation data."""
        return self.validation_losses[self.best_epoch - 1] if self.best_epoch and self.validation_losses else math.nan


def torchfit(
    x: Data, y: Data, model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer,
    epochs: int, batch_size: int, verbose: bool = True, patience: int = 10, min_delta: float = 1e-05, *,
    validation: tuple[Data, Data] | None = None, seed: int = 0, threads: int | None = None,
) -> FitReport:
    """Train a model by mini-batches with early stopping; afterwards it has the weights of its best epoch.

    The watched loss is the validation loss, or the training loss where there is no validation data. Training ends after
    ``patience`` epochs in a row without a watched loss more than ``min_delta`` below the best one, and the weights of
    the lowest watched loss are copied back. The same arguments give the same weights, bit for bit, on one machine.

    With ``nn.MSELoss`` and ``torch.optim.AdamW``, plain dense networks on the CPU are trained by `surrogates.dense`:
    the same numbers up to rounding (dropout: the same distribution), in a fraction of the time. Everything else goes
    through autograd.

    Args:
        x: Inputs (N, P), tensor or array; moved to the model's device and type.
        y: Targets (N, T), or (N,) for one target.
        model: Trained in place; left in the mode (training or evaluation) it came in.
        criterion: Loss (prediction, target), mean over the rows, such as ``nn.MSELoss()``.
        optimizer: Of the model's parameters, such as ``torch.optim.AdamW(model.parameters(), lr=1e-2)``.
        epochs: At most.
        batch_size: Rows per step; the last batch of an epoch may be smaller.
        verbose: Write each epoch's losses to the log (level INFO).
        patience: Epochs without improvement before the end.
        min_delta: By how much a loss must fall to count as an improvement.
        validation: Inputs and targets that are only watched.
        seed: Of the order of the rows and of dropout.
        threads: CPU threads; None takes what torch is set to, and one where the steps are small.

    Returns:
        Losses per epoch and the best epoch.

    Example:
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> model = nn.Sequential(nn.Linear(1, 16), nn.SiLU(), nn.Linear(16, 1))
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        >>> report = torchfit(x, x**2, model, nn.MSELoss(), optimizer, 200, 16, verbose=False)
        >>> report.loss < 0.1 * report.losses[0]
        True
    """
    start = time.perf_counter()
    _settle_shape(model, x)
    x_NP, y_NT = _rows(x, y, model)
    held = _rows(*validation, model) if validation is not None else None
    with _threads(threads or _sensible_threads(model, min(batch_size, len(x_NP)))), _seeded(seed, x_NP.device):
        fitter = _fitter(model, criterion, optimizer)
        losses, watched, best_epoch = _fit(fitter, x_NP, y_NT, held, epochs, batch_size, verbose,
                                           _Patience(patience, min_delta), torch.Generator().manual_seed(seed))
    return FitReport(tuple(losses), tuple(watched) if held else (), best_epoch, time.perf_counter() - start)


def predict(model: nn.Module, x: Data, threads: int | None = None) -> Tensor:
    """What a network says, without gradients or dropout, in blocks that fit the cache.

    Args:
        model: Left in the mode it came in.
        x: Inputs (N, P).
        threads: CPU threads; None takes what torch is set to.

    Returns:
        Shape (N, T), on the model's device.
    """
    x_NP, _ = _rows(x, None, model)
    layers = dense_layers(model)
    with torch.no_grad(), _mode(model, training=False), _threads(threads or torch.get_num_threads()):
        if layers:
            return DenseNet(layers).predict(x_NP)
        return torch.cat([model(block) for block in x_NP.split(CUDA_BLOCK)])


class _Fitter(Protocol):
    """Changes the weights of a model, and can go back to those it kept."""

    def epoch(self, batches: Batches) -> float:
        """A step for each batch; the mean loss over their rows."""
        ...

    def loss(self, x_NP: Tensor, y_NT: Tensor) -> float:
        """Loss with the present weights."""
        ...

    def keep(self) -> None:
        """Remember the present weights."""
        ...

    def finish(self) -> None:
        """Give the model the weights kept last."""
        ...


def _fitter(model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer) -> _Fitter:
    layers = dense_layers(model)
    squares = type(criterion) is nn.MSELoss and criterion.reduction == "mean"
    if layers and squares and FlatAdamW.takes(optimizer, model):
        return _DenseFitter(layers, optimizer)
    return _AutogradFitter(model, criterion, optimizer)


def _fit(
    fitter: _Fitter, x_NP: Tensor, y_NT: Tensor, held: tuple[Tensor, Tensor] | None, epochs: int, batch_size: int,
    verbose: bool, patience: _Patience, generator: torch.Generator,
) -> tuple[list[float], list[float], int]:
    """Losses, watched losses and the best epoch. Rows are shuffled once per epoch, so that batches are slices."""
    shuffled = torch.empty_like(x_NP), torch.empty_like(y_NT)
    batches = list(zip(*(rows.split(batch_size) for rows in shuffled), strict=True))
    losses: list[float] = []
    watched: list[float] = []
    best, best_epoch = math.inf, 0
    fitter.keep()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(x_NP), generator=generator).to(x_NP.device)
        for rows, out in zip((x_NP, y_NT), shuffled, strict=True):
            torch.index_select(rows, 0, order, out=out)
        losses.append(fitter.epoch(batches))
        watched.append(fitter.loss(*held) if held else losses[-1])
        if watched[-1] < best:
            best, best_epoch = watched[-1], epoch
            fitter.keep()
        if verbose:
            log.info("epoch %d: loss %.4g, watched %.4g, best %.4g", epoch, losses[-1], watched[-1], best)
        if patience.ends(watched[-1]):
            break
    fitter.finish()
    return losses, watched, best_epoch


class _Patience:
    """Ends a training that no longer improves; a loss that is not a number is no improvement."""

    def __init__(self, patience: int, min_delta: float) -> None:
        self._patience, self._min_delta = patience, min_delta
        self._best, self._waited = math.inf, 0

    def ends(self, loss: float) -> bool:
        """Whether this epoch was the last."""
        if loss < self._best - self._min_delta:
            self._best, self._waited = loss, 0
        else:
            self._waited += 1
        return self._waited >= self._patience


class _AutogradFitter:
    """Any model, loss and optimizer."""

    def __init__(self, model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._criterion, self._optimizer = model, criterion, optimizer
        self._kept: dict[str, Tensor] = {}

    def epoch(self, batches: Batches) -> float:
        n, total = 0, torch.zeros((), device=batches[0][0].device)
        with _mode(self._model, training=True):
            for x_BP, y_BT in batches:
                self._optimizer.zero_grad(set_to_none=True)
                loss = self._criterion(self._model(x_BP), y_BT)
                loss.backward()
                self._optimizer.step()
                total += loss.detach() * len(x_BP)
                n += len(x_BP)
        return float(total) / n

    def loss(self, x_NP: Tensor, y_NT: Tensor) -> float:
        return float(self._criterion(predict(self._model, x_NP), y_NT))

    def keep(self) -> None:
        self._kept = {name: value.detach().clone() for name, value in self._model.state_dict().items()}

    def finish(self) -> None:
        self._model.load_state_dict(self._kept)


class _DenseFitter:
    """A dense network under mean squared error and AdamW."""

    def __init__(self, layers: list[Layer], optimizer: torch.optim.Optimizer) -> None:
        with torch.no_grad():
            self._net = DenseNet(layers)
            self._adamw = FlatAdamW(self._net, optimizer)
        self._kept = self._net.flat.clone()
        self._buffers: dict[int, Rows] = {}
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**62, ()).item()))

    def epoch(self, batches: Batches) -> float:
        residuals = [torch.empty_like(y_BT) for _, y_BT in batches]
        with torch.no_grad():
            for (x_BP, y_BT), residual_BT in zip(batches, residuals, strict=True):
                self._step(x_BP, y_BT, residual_BT)
            return float(torch.cat(residuals).double().square().mean())

    def loss(self, x_NP: Tensor, y_NT: Tensor) -> float:
        with torch.no_grad():
            return float((self._net.predict(x_NP) - y_NT).double().square().mean())

    def keep(self) -> None:
        self._kept.copy_(self._net.flat)

    def finish(self) -> None:
        with torch.no_grad():
            self._net.flat.copy_(self._kept)
            self._net.write_to_model()
            self._adamw.write()

    def _step(self, x_BP: Tensor, y_BT: Tensor, residual_BT: Tensor) -> None:
        rows = self._buffers.get(len(x_BP))
        if rows is None:
            rows = self._buffers[len(x_BP)] = Rows(self._net.layers, len(x_BP))
        rows.drop(self._generator)
        torch.sub(self._net.forward(rows, x_BP, training=True), y_BT, out=residual_BT)
        self._net.backward(rows, residual_BT * (2 / residual_BT.numel()))
        self._adamw.step()


def _settle_shape(model: nn.Module, x: Data) -> None:
    """A network that leaves open how many inputs it has learns it from the first row."""
    like = next(model.parameters())
    if isinstance(like, nn.parameter.UninitializedParameter):
        with torch.no_grad(), _mode(model, training=False):
            model(torch.as_tensor(x)[:1].to(device=like.device, dtype=like.dtype))


def _rows(x: Data, y: Data | None, model: nn.Module) -> tuple[Tensor, Tensor]:
    """Inputs and targets as two-dimensional tensors, of the model's device and type."""
    like = next(model.parameters())
    x_NP = torch.as_tensor(x).detach().to(like)
    y_NT = torch.as_tensor(y).detach().to(like) if y is not None else x_NP[:, :0]
    y_NT = y_NT[:, None] if y_NT.ndim == 1 else y_NT
    if x_NP.ndim != 2 or y_NT.ndim != 2 or len(x_NP) != len(y_NT):
        raise ValueError(f"x and y must be (N, P) and (N, T), got {tuple(x_NP.shape)} and {tuple(y_NT.shape)}")
    return x_NP.contiguous(), y_NT.contiguous()


def _sensible_threads(model: nn.Module, batch_size: int) -> int:
    """One where a step is too small to share."""
    flop = 6.0 * batch_size * sum(p.numel() for p in model.parameters())
    return torch.get_num_threads() if flop > THREADS_FROM_FLOP else 1


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own random numbers (dropout, by autograd) start from the seed; what was there before comes back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)
