"""Run a network on frames: the same geometry, thresholds and measures in every backend.

``open_bundle`` gives a :class:`Segmenter`; the backends are OpenVINO (the device), ONNX Runtime
(the reference) and PyTorch (checkpoints). Each library is imported when its backend is opened.
"""

from edge_bts.runtime.backend import BACKENDS, Backend, BackendName, open_backend
from edge_bts.runtime.opening import open_bundle, open_checkpoint, open_network
from edge_bts.runtime.segmenter import Prediction, Result, Segmenter, to_gray

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendName",
    "Prediction",
    "Result",
    "Segmenter",
    "open_backend",
    "open_bundle",
    "open_checkpoint",
    "open_network",
    "to_gray",
]
