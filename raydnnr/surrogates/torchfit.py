"""torchfit: the training loop."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import torch
from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """How a training went; losses are those of the weights that were kept."""

    n_epochs: int
    best_epoch: int
    loss: float
    validation_loss: float


def torchfit(
    x: torch.Tensor, y: torch.Tensor, model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer,
    epochs: int, batch_size: int, verbose: bool = True, patience: int = 10, min_delta: float = 1e-05, *,
    validation: tuple[torch.Tensor, torch.Tensor] | None = None, generator: torch.Generator | None = None,
) -> History:
    """Train a model with early stopping; the best weights are the ones it has afterwards.

    Args:
        x: Inputs (n, P).
        y: Targets (n, T).
        model: Trained in place.
        criterion: Loss, such as ``nn.MSELoss()``.
        optimizer: Of the model's parameters, such as AdamW.
        epochs: At most.
        batch_size: Rows per step.
        verbose: Say in the log how it goes.
        patience: Epochs without improvement after which it ends.
        min_delta: What counts as an improvement.
        validation: Inputs and targets whose loss is watched; the training loss if None.
        generator: Of the order of the batches.

    Returns:
        Epochs, the best one, and its losses.
    """
    best, best_loss, best_train, best_epoch = copy.deepcopy(model.state_dict()), float("inf"), float("nan"), 0
    epoch = 0
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(x), generator=generator).to(x.device)
        x_epoch, y_epoch = x[order], y[order]
        total = torch.zeros((), device=x.device)
        for x_batch, y_batch in zip(x_epoch.split(batch_size), y_epoch.split(batch_size), strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(x_batch), y_batch)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(x_batch)
        train_loss = float(total) / len(x)
        watched = train_loss if validation is None else _loss(model, criterion, *validation)
        if watched < best_loss - min_delta:
            best, best_loss, best_train, best_epoch = copy.deepcopy(model.state_dict()), watched, train_loss, epoch
        elif epoch - best_epoch >= patience:
            break
        if verbose:
            log.info("epoch %d: loss %.4g, watched %.4g", epoch, train_loss, watched)
    model.load_state_dict(best)
    return History(epoch, best_epoch, best_train, best_loss if validation is not None else float("nan"))


def _loss(model: nn.Module, criterion: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        return float(criterion(model(x), y))
