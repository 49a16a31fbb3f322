"""Networks: the architectures of the original scan."""

from __future__ import annotations

import warnings
from itertools import pairwise

from torch import nn

WIDE_FROM = 5000  # training points
DROPOUT = 0.2


def network_architecture_selector(
    n_training_points: int, n_inputs: int | None = None, n_outputs: int = 1, neurons: int = 100
) -> nn.Sequential:
    """The network that suits the amount of data, as ``MLS_DNNR`` chooses it (arXiv:2301.01154).

    Below 5000 points five hidden layers of ``neurons``, with ReLU and without dropout; from there on a funnel of 2, 1
    and 1/2 times ``neurons``, with SiLU and dropout 0.2.

    Args:
        n_training_points: Rows there are to learn from.
        n_inputs: Parameters; None leaves it to the first rows that pass through the network.
        n_outputs: Targets.
        neurons: Width of a hidden layer.

    Example:
        >>> [layer.out_features for layer in network_architecture_selector(4999, 3) if hasattr(layer, "out_features")]
        [100, 100, 100, 100, 100, 1]
        >>> network_architecture_selector(5000, 3, neurons=8)
        Sequential(
          (0): Linear(in_features=3, out_features=16, bias=True)
          (1): SiLU()
          (2): Dropout(p=0.2, inplace=False)
          (3): Linear(in_features=16, out_features=8, bias=True)
          (4): SiLU()
          (5): Dropout(p=0.2, inplace=False)
          (6): Linear(in_features=8, out_features=4, bias=True)
          (7): SiLU()
          (8): Dropout(p=0.2, inplace=False)
          (9): Linear(in_features=4, out_features=1, bias=True)
        )
    """
    few = n_training_points < WIDE_FROM
    widths = [neurons] * 5 if few else [2 * neurons, neurons, max(1, neurons // 2)]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([n_inputs, *widths]):
        assert n_out is not None
        layers += [_linear(n_in, n_out), *([nn.ReLU()] if few else [nn.SiLU(), nn.Dropout(DROPOUT)])]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))


def _linear(n_in: int | None, n_out: int) -> nn.Module:
    if n_in is not None:
        return nn.Linear(n_in, n_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: "Lazy modules are a new feature"
        return nn.LazyLinear(n_out)
