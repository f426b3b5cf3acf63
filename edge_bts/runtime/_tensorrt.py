"""TensorRT: the engine that `edge-bts build` left in this device's cache, checked, then run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_bts.bundle import Bundle
from edge_bts.errors import InputError
from edge_bts.runtime.backend import BackendName, check_image

__all__ = ["EngineSource", "TensorRtBackend"]


@dataclass(frozen=True)
class EngineSource:
    """Where an engine comes from.

    Attributes:
        bundle: Whose engine; its golden frames are the known answers.
        cache: Folder; None: see :func:`edge_bts.tensorrt.cache.cache_folder`.
    """

    bundle: Bundle
    cache: Path | None = None


class TensorRtBackend:
    """An engine of the cache. It is never built here: that takes minutes and belongs to install.

    Checks, in this order: size and SHA-256 of the plan; its tag and TensorRT version; machine,
    compute capability, GPU and SM count; TensorRT takes it; names, types and shapes of inputs and
    outputs; one golden frame. Each has a sentence of its own.

    Attributes:
        notes: What the user should know, e.g. that no CUDA graph could be had.
    """

    name: BackendName = "tensorrt"
    threads: int | None = None

    def __init__(
        self, source: EngineSource, *, precision: str = "fp32", threads: int | None = None
    ) -> None:
        from edge_bts.tensorrt.answer import check_answer
        from edge_bts.tensorrt.cache import EngineKey, cache_folder, read_engine
        from edge_bts.tensorrt.device import open_device
        from edge_bts.tensorrt.execution import Execution
        from edge_bts.tensorrt.library import library_version

        if not isinstance(source, EngineSource):
            raise InputError(
                f"Expected a bundle whose engine was built, but got {type(source).__name__}; open "
                "it with open_bundle(path, backend='tensorrt')."
            )
        if threads is not None:
            raise InputError(
                f"Expected no number of threads with TensorRT, which runs on the GPU, but got "
                f"{threads}; leave it out."
            )
        bundle = source.bundle
        trt, cuda, device = open_device()
        self.precision = precision
        self.imgsz = bundle.manifest.imgsz
        self.version = library_version(trt)
        key = EngineKey.of(bundle, cache_folder(source.cache), self.version, device, precision)
        plan, self._sidecar = read_engine(key)
        self._execution = Execution(
            trt, cuda, plan, self.imgsz, mend=key.mend, graph=self._sidecar.cuda_graph
        )
        try:
            check_answer(self._execution.infer, bundle, precision, key.mend, frames=1)
        except BaseException:
            self.close()
            raise
        self.notes = list(self._execution.notes)

    def infer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (1, 1, S, S) float32 to probability of the same shape; see ``Backend.infer``."""
        check_image(image, self.imgsz)
        return self._execution.infer(image)

    def describe(self) -> dict[str, Any]:
        """Name device, CUDA package and layers, and say whether a CUDA graph is launched."""
        sidecar = self._sidecar
        return {
            "gpu": sidecar.device.gpu,
            "cuda": sidecar.device.cuda_package,
            "cuda_graph": self._execution.graph,
            "layers": None if sidecar.inspection is None else sidecar.inspection.model_dump(),
        }

    def close(self) -> None:
        """Give the GPU's memory back; not usable afterwards."""
        self._execution.close()
