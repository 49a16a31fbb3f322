"""Several networks of one shape as one tensor program: forward, backward, AdamW, on the CPU or a GPU.

M members in batched products take no more calls than one, and a small network costs calls. Derivatives are written out,
buffers are made once, and all weights of a member are one row of one matrix, so that the optimizer, and keeping a
member's best weights, are one call each.

Shapes: **M** members, **B** rows of a batch, **I** inputs, **O** outputs, **K** weights of a member.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.adamw import adamw

CPU_BLOCK = 1024  # rows predicted at once: their activations stay in the processor's second cache
CUDA_BLOCK = 65_536

_aten = torch.ops.aten


@contextmanager
def settled() -> Iterator[torch.device]:
    """The device to compute on, without gradients, with one CPU thread and TF32; what was set before comes back.

    One thread, because a step of small networks is too short to share, and the same seed gives the same numbers on any
    machine load.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        with torch.no_grad():
            yield device
    finally:
        torch.set_num_threads(threads)
        if device.type == "cuda":
            torch.set_float32_matmul_precision(precision)


class BatchedNet:
    """M dense networks with SiLU between the layers.

    Args:
        flat_MK: All weights, changed in place by `AdamW`.
        sizes: Inputs, widths of the hidden layers, outputs.
    """

    def __init__(self, flat_MK: Tensor, sizes: Sequence[int]) -> None:
        self.flat, self.sizes = flat_MK, tuple(sizes)
        self.weights, self.biases = self._views(flat_MK)
        self.gradient = torch.zeros_like(flat_MK)
        self._weight_gradients, self._bias_gradients = self._views(self.gradient)
        self._buffers: dict[int, _Buffers] = {}

    @classmethod
    def drawn(cls, members: int, sizes: Sequence[int], generator: torch.Generator, device: torch.device) -> BatchedNet:
        """Weights of variance 1 / fan-in, and biases of the first layer that spread its units over the inputs."""
        net = cls(torch.zeros(members, n_weights(sizes)), sizes)
        for k, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
            weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(weight.shape[1]))
            if k == 0:
                bias.copy_(2 * torch.rand(bias.shape, generator=generator) - 1)
        return cls(net.flat.to(device), sizes)

    @property
    def members(self) -> int:
        """How many."""
        return len(self.flat)

    def forward(self, x_MBI: Tensor) -> Tensor:
        """Outputs (M, B, O), in a buffer that the next call with as many rows reuses."""
        return self._forward(x_MBI, self._buffers_of(x_MBI))

    def backward(self, x_MBI: Tensor, d_MBO: Tensor) -> None:
        """From the derivatives of the loss by the outputs to `gradient`, after `forward` with the same rows."""
        rows = self._buffers_of(x_MBI)
        d = d_MBO
        for k in range(len(self.weights) - 1, -1, -1):
            into = rows.h[k - 1] if k else x_MBI
            self._weight_gradients[k].copy_(torch.bmm(into.transpose(1, 2), d))
            torch.sum(d, 1, keepdim=True, out=self._bias_gradients[k])
            if k:
                before = rows.d[k - 1]
                torch.bmm(d, self.weights[k].transpose(1, 2), out=before)
                d = _aten.silu_backward.grad_input(before, rows.z[k - 1], grad_input=before)

    def predict(self, x_NI: Tensor) -> Tensor:
        """Outputs (M, N, O) of rows that all members share."""
        out_MNO = x_NI.new_empty(self.members, len(x_NI), self.sizes[-1])
        block = CPU_BLOCK if x_NI.device.type == "cpu" else CUDA_BLOCK
        for x, out in zip(x_NI.split(block), out_MNO.split(block, 1), strict=True):
            out.copy_(self.forward(x.expand(self.members, -1, -1)))
        return out_MNO

    def features(self, x_NI: Tensor, member: int) -> Tensor:
        """What the last layer of one member sees, (N, W)."""
        h = x_NI
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = torch.nn.functional.silu(torch.addmm(bias[member, 0], h, weight[member]))
        return h

    def _forward(self, x_MBI: Tensor, rows: _Buffers) -> Tensor:
        h = x_MBI
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            torch.baddbmm(bias, h, weight, out=rows.z[k])
            if k < len(rows.h):
                h = _aten.silu.out(rows.z[k], out=rows.h[k])
        return rows.z[-1]

    def _buffers_of(self, x_MBI: Tensor) -> _Buffers:
        n = x_MBI.shape[1]
        if n not in self._buffers:
            self._buffers[n] = _Buffers(self.flat, self.sizes[1:], n)
        return self._buffers[n]

    def _views(self, flat_MK: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Weights (M, I, O) and biases (M, 1, O) of each layer, within the flat tensor."""
        weights, biases, start = [], [], 0
        for n_in, n_out in itertools.pairwise(self.sizes):
            middle, end = start + n_in * n_out, start + (n_in + 1) * n_out
            weights.append(flat_MK[:, start:middle].view(-1, n_in, n_out))
            biases.append(flat_MK[:, None, middle:end])
            start = end
        return weights, biases


class _Buffers:
    """Of one pass of B rows: sums, activations, derivatives by the sums."""

    def __init__(self, like: Tensor, widths: Sequence[int], n: int) -> None:
        def empty() -> list[Tensor]:
            return [like.new_empty(len(like), n, width) for width in widths]

        self.z, self.h, self.d = empty(), empty()[:-1], empty()[:-1]


class AdamW:
    """AdamW (arXiv:1711.05101) on the flat tensors of a net.

    The square's memory is short (0.99 rather than 0.999): a training has a thousand steps, not a million.
    """

    def __init__(self, net: BatchedNet, weight_decay: float) -> None:
        self._net, self._weight_decay = net, weight_decay
        self._mean, self._square = torch.zeros_like(net.flat), torch.zeros_like(net.flat)
        self._step = torch.zeros((), device=net.flat.device)

    def step(self, learning_rate: float) -> None:
        """One step along the net's gradient."""
        adamw([self._net.flat], [self._net.gradient], [self._mean], [self._square], [], [self._step], fused=True,
              foreach=False, amsgrad=False, beta1=0.9, beta2=0.99, lr=learning_rate, weight_decay=self._weight_decay,
              eps=1e-8, maximize=False)


def n_weights(sizes: Sequence[int]) -> int:
    """Weights and biases of one network."""
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
