"""Batch norm folded into the convolution before it: fewer nodes, and exact INT8 agreement."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norm"]

M = TypeVar("M", bound=nn.Module)


def fold_batch_norm(module: M) -> M:
    """Return a copy in ``eval`` mode in which no batch norm is left after a convolution.

    Pairs are found among neighbours in registration order, which is the order of execution inside
    ``nn.Sequential`` (:class:`edge_bts.models.blocks.ConvNormAct` is one). The output is that of
    ``module.eval()`` within float rounding.

    Raises:
        ValueError: A batch norm stands elsewhere and would be quantized as it is.
    """
    folded = copy.deepcopy(module).eval()
    for parent in folded.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    left = [name for name, part in folded.named_modules() if isinstance(part, nn.BatchNorm2d)]
    if left:
        raise ValueError(
            f"Expected every batch norm to follow a convolution in a Sequential, but {left[0]} "
            "does not; build it from ConvNormAct."
        )
    return folded
