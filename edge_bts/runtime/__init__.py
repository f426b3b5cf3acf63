"""Run a network on frames: the same geometry, thresholds and measures everywhere.

Two frame paths, with the same masks and measures:

* ``open`` gives a :class:`Session` of the C++ library, which is the product: what a scanner runs;
  ``open_live`` a :class:`LiveSession`, for frames that nobody waits for.
* ``open_bundle`` gives a :class:`Segmenter`, the portable reference: Python around OpenVINO, ONNX
  Runtime, TensorRT or (checkpoints) PyTorch. Each library is imported when its backend is opened.
"""

from edge_bts.runtime.backend import BACKENDS, Backend, BackendName, open_backend
from edge_bts.runtime.native import (
    Counts,
    Health,
    LiveResult,
    LiveSession,
    Session,
    SessionResult,
    open,
    open_live,
    open_session,
)
from edge_bts.runtime.opening import open_bundle, open_checkpoint, open_network
from edge_bts.runtime.segmenter import Prediction, Result, Segmenter, to_gray

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendName",
    "Counts",
    "Health",
    "LiveResult",
    "LiveSession",
    "Prediction",
    "Result",
    "Segmenter",
    "Session",
    "SessionResult",
    "open",
    "open_backend",
    "open_bundle",
    "open_checkpoint",
    "open_live",
    "open_network",
    "open_session",
    "to_gray",
]
