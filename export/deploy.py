"""The network as it leaves the house: probability instead of logits, one static shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["INPUT", "OUTPUT", "WithSigmoid", "example_input"]

INPUT = "image"
OUTPUT = "probability"


class WithSigmoid(nn.Module):
    """``sigmoid(module(image))``: (1, 1, S, S) normalised floats to probability."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Tensor:
        """Return the probability of lesion, in the shape of ``image``."""
        return torch.sigmoid(self.module(image))


def example_input(imgsz: int) -> Tensor:
    """Return an input (1, 1, S, S) float32 for the tracers; the values do not matter."""
    return torch.linspace(-1, 3, imgsz * imgsz).reshape(1, 1, imgsz, imgsz)
