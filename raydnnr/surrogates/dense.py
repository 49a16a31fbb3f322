"""Dense networks by hand: forward, backward and AdamW of a plain ``nn.Sequential``, in place, on the CPU.

What autograd and the optimizer spend per call and per allocation is more than the arithmetic of a small network. Here
all weights lie in one flat tensor, every buffer is made once, and a training step is some fifty calls of plain kernels.
A bias is the weight of one more input that is always 1, so that one matrix product yields the gradients of weights and
biases. The numbers are those of autograd up to rounding; `torchfit` decides when this applies.

Shapes: **B** rows, **P** inputs, **T** outputs, **W** width of a layer, **I** columns of a layer's input: its width,
the constant 1, and zeros up to a multiple of eight (aligned rows make the products a tenth faster).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

ALIGN = 8
PREDICTION_BLOCK = 2048  # rows whose activations stay in the processor's second cache

_aten = torch.ops.aten


@dataclass(frozen=True)
class Layer:
    """A linear map, the activation after it (``relu``, ``silu`` or none) and the dropout after that."""

    linear: nn.Linear
    activation: str = ""
    dropout: float = 0.0

    @property
    def width(self) -> int:
        """Outputs."""
        return int(self.linear.out_features)

    @property
    def n_columns(self) -> int:
        """Inputs, the constant, and what aligns them."""
        return _aligned(self.linear.in_features)


def dense_layers(model: nn.Module) -> list[Layer] | None:
    """The layers of a model that this module can train, or None.

    That is an ``nn.Sequential`` of ``Linear``, each hidden one followed by ``ReLU`` or ``SiLU`` and perhaps
    ``Dropout``, the last one by nothing; 32-bit numbers, on the CPU, all trainable, without hooks.
    """
    if type(model) is not nn.Sequential or any(_has_hooks(m) for m in model.modules()):
        return None
    activations: dict[type, str] = {nn.ReLU: "relu", nn.SiLU: "silu"}
    layers: list[Layer] = []
    for module in model:
        last = layers[-1] if layers else None
        if type(module) is nn.Linear and (last is None or last.activation) and module.bias is not None:
            layers.append(Layer(module))
        elif type(module) in activations and last and not last.activation:
            layers[-1] = Layer(last.linear, activations[type(module)])
        elif type(module) is nn.Dropout and last and last.activation and not last.dropout and module.p < 1:
            layers[-1] = Layer(last.linear, last.activation, module.p)
        else:
            return None
    plain = all(p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad for p in model.parameters())
    return layers if plain and layers and not layers[-1].activation else None


class DenseNet:
    """A copy of a model's weights in one flat tensor, their gradients in another.

    Args:
        layers: From `dense_layers`; their modules are read now and written by `write` alone.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        n_weights = sum(layer.width * layer.n_columns for layer in layers)
        self.flat = torch.zeros(n_weights)
        self.flat_gradient = torch.zeros(n_weights)
        self.weights = self.views(self.flat)
        self.gradients = self.views(self.flat_gradient)
        self._read_by = [w.t() for w in self.weights]
        self._no_constant = [w[:, : k.linear.in_features] for w, k in zip(self.weights, layers, strict=True)]
        self.read(self.weights, [(k.linear.weight, k.linear.bias) for k in layers])

    def views(self, flat: Tensor) -> list[Tensor]:
        """A flat tensor, such as `flat`, as one (W, I) matrix per layer."""
        sizes = [layer.width * layer.n_columns for layer in self.layers]
        return [part.view(k.width, k.n_columns) for part, k in zip(flat.split(sizes), self.layers, strict=True)]

    def read(self, matrices: Iterable[Tensor], values: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Fill matrices, such as `weights`, from one pair (weight, bias) per layer."""
        for matrix, (weight, bias) in zip(matrices, values, strict=True):
            matrix[:, : weight.shape[1]] = weight.detach()
            matrix[:, weight.shape[1]] = bias.detach()

    def write(self, matrices: Iterable[Tensor], values: Iterable[tuple[Tensor, Tensor]]) -> None:
        """The other way."""
        for matrix, (weight, bias) in zip(matrices, values, strict=True):
            weight.copy_(matrix[:, : weight.shape[1]])
            bias.copy_(matrix[:, weight.shape[1]])

    def write_to_model(self) -> None:
        """Give the modules the present weights."""
        self.write(self.weights, [(k.linear.weight, k.linear.bias) for k in self.layers])

    def forward(self, rows: Rows, x_BP: Tensor, *, training: bool) -> Tensor:
        """Outputs (B, T), in a buffer of ``rows``; with dropout if ``training``."""
        rows.x_BP.copy_(x_BP)
        for k, layer in enumerate(self.layers[:-1]):
            torch.mm(rows.inputs[k], self._read_by[k], out=rows.z[k])
            if layer.activation == "relu":
                rows.h[k].relu_()
            else:
                _aten.silu.out(rows.z[k], out=rows.h[k])
            if training and layer.dropout:
                rows.h[k].mul_(rows.masks[k])
        return torch.mm(rows.inputs[-1], self._read_by[-1], out=rows.output_BT)

    def backward(self, rows: Rows, d_BT: Tensor) -> None:
        """From the derivatives of the loss by the outputs to `gradients`, after a `forward` with ``training``."""
        d_BW = rows.d[-1]
        d_BW.copy_(d_BT)
        for k in range(len(self.layers) - 1, -1, -1):
            torch.mm(rows.d_t[k], rows.inputs[k], out=self.gradients[k])
            if k == 0:
                return
            before, d_BW = self.layers[k - 1], rows.d[k - 1]
            torch.mm(rows.d[k], self._no_constant[k], out=d_BW)
            if before.dropout:
                d_BW.mul_(rows.masks[k - 1])
            if before.activation == "relu":
                _aten.threshold_backward.grad_input(d_BW, rows.h[k - 1], 0, grad_input=d_BW)
            else:
                _aten.silu_backward.grad_input(d_BW, rows.z[k - 1], grad_input=d_BW)

    def predict(self, x_NP: Tensor) -> Tensor:
        """Outputs (N, T) without dropout, block by block."""
        out_NT = torch.empty(len(x_NP), self.layers[-1].width)
        rows: Rows | None = None
        for x_BP, out_BT in zip(x_NP.split(PREDICTION_BLOCK), out_NT.split(PREDICTION_BLOCK), strict=True):
            if rows is None or rows.n != len(x_BP):
                rows = Rows(self.layers, len(x_BP))
            out_BT.copy_(self.forward(rows, x_BP, training=False))
        return out_NT


class Rows:
    """The buffers of one pass of B rows: inputs of each layer, activations, their derivatives, dropout masks."""

    def __init__(self, layers: Sequence[Layer], n: int) -> None:
        self.n = n
        hidden = layers[:-1]
        self.inputs = [torch.zeros(n, layer.n_columns) for layer in layers]
        for layer, columns in zip(layers, self.inputs, strict=True):
            columns[:, layer.linear.in_features] = 1.0
        self.x_BP = self.inputs[0][:, : layers[0].linear.in_features]
        self.h = [columns[:, : k.width] for columns, k in zip(self.inputs[1:], hidden, strict=True)]
        self.z = [h if k.activation == "relu" else torch.empty(n, k.width) for h, k in zip(self.h, hidden, strict=True)]
        self.output_BT = torch.empty(n, layers[-1].width)
        two = torch.empty(2, n * max(layer.width for layer in layers))  # of these, one is read while one is written
        self.d = [two[k % 2, : n * layer.width].view(n, layer.width) for k, layer in enumerate(layers)]
        self.d_t = [d.t() for d in self.d]
        self._dropout = next((layer.dropout for layer in hidden if layer.dropout), 0.0)
        widths = [k.width if k.dropout else 0 for k in hidden]
        self._mask = torch.empty(n * sum(widths))
        parts = self._mask.split([n * w for w in widths])
        self.masks = [part.view(n, w) for part, w in zip(parts, widths, strict=True)]
        self._bits = torch.empty(-(-len(self._mask) // 8), dtype=torch.int64)

    def drop(self, generator: torch.Generator) -> None:
        """New dropout masks: 0, or 1 / (share kept).

        A byte decides for a unit, twelve times faster than ``bernoulli_``; so the share dropped is a multiple of
        1/256, and the factor is that of the share really kept.
        """
        if not self._dropout:
            return
        dropped = round(256 * self._dropout)
        self._bits.random_(-(2**63), None, generator=generator)
        torch.ge(self._bits.view(torch.uint8)[: len(self._mask)], dropped, out=self._mask)
        self._mask.mul_(256 / (256 - dropped))


class FlatAdamW:
    """AdamW on the flat tensors, with the settings and the state of an optimizer of the model.

    Args:
        net: Whose weights it changes.
        optimizer: One that `takes` says yes to. `write` gives it the state it would have if it had made the steps.
    """

    def __init__(self, net: DenseNet, optimizer: torch.optim.Optimizer) -> None:
        self._net, self._optimizer = net, optimizer
        self._group = optimizer.param_groups[0]
        self._mean, self._square = torch.zeros_like(net.flat), torch.zeros_like(net.flat)
        self._step = torch.zeros(())
        self._keys = {"exp_avg": net.views(self._mean), "exp_avg_sq": net.views(self._square)}
        states = [(optimizer.state[k.linear.weight], optimizer.state[k.linear.bias]) for k in net.layers]
        if all("exp_avg" in state for pair in states for state in pair):
            self._step.fill_(float(states[0][0]["step"]))
            for key, matrices in self._keys.items():
                net.read(matrices, [(weight[key], bias[key]) for weight, bias in states])

    @staticmethod
    def takes(optimizer: torch.optim.Optimizer, model: nn.Module) -> bool:
        """Whether it is a plain AdamW with one group, which holds just the model's parameters."""
        if type(optimizer) is not torch.optim.AdamW or len(optimizer.param_groups) != 1:
            return False
        group = optimizer.param_groups[0]
        mine = [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
        odd = any(group.get(key) for key in ("amsgrad", "maximize", "differentiable", "capturable"))
        return mine and not odd and not isinstance(group["lr"], Tensor)

    def step(self) -> None:
        """One step along the gradients of the net."""
        group, net = self._group, self._net
        beta1, beta2 = group["betas"]
        adamw([net.flat], [net.flat_gradient], [self._mean], [self._square], [], [self._step], fused=True,
              foreach=False, amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"],
              weight_decay=group["weight_decay"], eps=group["eps"], maximize=False)

    def write(self) -> None:
        """Give the optimizer its state."""
        for k in self._net.layers:
            for parameter in (k.linear.weight, k.linear.bias):
                self._optimizer.state[parameter].update(
                    step=self._step.clone(), **{key: torch.empty_like(parameter) for key in self._keys})
        for key, matrices in self._keys.items():
            states = [(self._optimizer.state[k.linear.weight][key], self._optimizer.state[k.linear.bias][key])
                      for k in self._net.layers]
            self._net.write(matrices, states)


def _aligned(width: int) -> int:
    """Columns for ``width`` values and the constant 1."""
    return -(-(width + 1) // ALIGN) * ALIGN


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                or module._backward_pre_hooks)
