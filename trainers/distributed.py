"""What the processes of one training do together: Fabric starts them, gloo or NCCL connects them.

Every process holds the network, the data and the same decisions; it computes its share of each
batch and of the validation images. Only the first one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from edge_bts.errors import EdgeBtsError

__all__ = ["first_alone", "leave", "whole_batch_norm"]

T = TypeVar("T")


def first_alone(fabric: Fabric, function: Callable[..., T], *arguments: Any) -> T:
    """Call ``function`` on the first process and return its result, which is pickled, on all.

    Raises:
        EdgeBtsError: What ``function`` raised, on every process: none waits for one that is gone.
    """
    outcome: tuple[T | None, EdgeBtsError | None] = (None, None)
    if fabric.is_global_zero:
        try:
            outcome = function(*arguments), None
        except EdgeBtsError as error:
            outcome = None, error
    result, refused = fabric.broadcast(outcome)
    if refused is not None:
        raise refused
    return result  # type: ignore[return-value]


def leave() -> None:
    """Disconnect the processes of a training, once all have come so far; alone: do nothing.

    Else the threads of the connection live until the interpreter goes, and now and then one of
    them ends its process with an abort after all the work is done.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@contextmanager
def whole_batch_norm(module: nn.Module, fabric: Fabric) -> Iterator[None]:
    """Let the batch norms of ``module`` see the batch of all processes while the block runs.

    Only their class changes, to :class:`torch.nn.SyncBatchNorm` on CUDA and to one of ours on the
    CPU, which torch's refuses. Whoever holds a layer, a hook or a parameter goes on holding it,
    and a checkpoint has the same keys.
    """
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    found = [m for m in module.modules() if type(m) in plain] if fabric.world_size > 1 else []
    classes = [type(layer) for layer in found]
    for layer in found:
        if fabric.device.type == "cuda":
            layer.process_group = None  # type: ignore[assignment]  # of all processes
            layer.__class__ = nn.SyncBatchNorm
        else:
            layer.__class__ = _SharedBatchNorm
    try:
        yield
    finally:
        for layer, original in zip(found, classes, strict=True):
            layer.__class__ = original


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the images of all processes, (B, C, ...), as many on each.

    Statistics are computed in float32, as torch does for half-precision inputs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept what the layer accepted that this one stands for."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input; without training, by the running statistics."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        dims = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean = _average(x.mean(dims))
        centred = x - mean.view(shape)
        # From the common mean, not from E[x²] - E[x]²: that cancels where the mean is large.
        variance = _average(centred.square().mean(dims))
        if self.running_mean is not None and self.running_var is not None:
            self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        result = centred * scale.view(shape)
        if self.bias is not None:
            result = result + self.bias.view(shape)
        return result.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        count *= torch.distributed.get_world_size()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: FunctionCtx, value: Tensor) -> Tensor:
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value / torch.distributed.get_world_size()

    @staticmethod
    def backward(_ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        # Every process's average is of all values: its gradient is the average of all gradients.
        return _average(gradient)


def _average(value: Tensor) -> Tensor:
    """Return the mean of ``value`` over the processes; gradients flow through it."""
    return _Average.apply(value)  # type: ignore[no-any-return, no-untyped-call]
