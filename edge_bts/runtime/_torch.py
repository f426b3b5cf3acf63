"""PyTorch: the backend of checkpoints, before anything is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime.backend import BackendName, check_image

if TYPE_CHECKING:
    import torch

__all__ = ["TorchBackend", "import_torch"]


class TorchBackend:
    """A module that returns logits, in eval mode, with the sigmoid applied here.

    On the CPU the weights are laid out channels-last where that was measured to be the faster
    form. ``threads`` sets PyTorch's number for the whole process, the only one it has.
    """

    name: BackendName = "torch"
    imgsz: int | None = None

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        device: str = "cpu",
        channels_last: bool = True,
    ) -> None:
        torch = import_torch()
        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"Expected a torch module that returns logits, but got {type(module).__name__}; "
                "open a checkpoint with open_checkpoint()."
            )
        self.precision = precision
        self.threads = threads
        self.version = str(torch.__version__)
        self._torch = torch
        self._device = _device(torch, device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        if threads is not None:
            torch.set_num_threads(threads)
        self._module = module.eval().to(self._device).to(memory_format=self._format)

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (1, 1, S, S) float32 to probability of the same shape; see ``Backend.infer``."""
        check_image(image, self.imgsz)
        with self._torch.inference_mode():
            tensor = self._torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
            logits = self._module(tensor.to(memory_format=self._format))
            output: NDArray[np.float32] = logits.sigmoid().float().cpu().contiguous().numpy()
        return output

    def describe(self) -> dict[str, Any]:
        """Name the device and the memory format."""
        return {"device": str(self._device), "memory_format": str(self._format)}


def import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise EnvironmentMismatchError(
            f"Expected the package torch, but importing it failed ({error}); install it with "
            "`pip install 'edge-bts[train]'`, or export a bundle where torch is."
        ) from None
    return torch


def _device(torch: Any, name: str) -> Any:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"Expected a device such as cpu or cuda:0, but got {name!r}.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentMismatchError(
            f"Expected a CUDA device for {name!r}, but torch sees none; use --device cpu."
        )
    return device
