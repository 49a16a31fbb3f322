"""Networks: architectures of the original scan."""

from __future__ import annotations

from torch import nn

DEEP_FROM = 5000  # training points from which the wider network pays
DROPOUT = 0.2


def network_architecture_selector(
    n_training_points: int, n_inputs: int, n_outputs: int = 1, neurons: int = 100
) -> nn.Sequential:
    """The network that suits the amount of data (as BSMArt's ``MLS_DNNR`` chooses, arXiv:2301.01154).

    Below 5000 points five hidden ReLU layers of ``neurons``; from there on a SiLU funnel of 2, 1 and 1/2 times
    ``neurons`` with dropout 0.2.

    Example:
        >>> [type(layer).__name__ for layer in network_architecture_selector(100, n_inputs=3, neurons=8)][:3]
        ['Linear', 'ReLU', 'Linear']
    """
    few = n_training_points < DEEP_FROM
    widths = [neurons] * 5 if few else [2 * neurons, neurons, max(1, neurons // 2)]
    activation: type[nn.Module] = nn.ReLU if few else nn.SiLU
    dropout = 0.0 if few else DROPOUT
    layers: list[nn.Module] = []
    for n_in, n_out in zip([n_inputs, *widths[:-1]], widths, strict=True):
        layers += [nn.Linear(n_in, n_out), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))
