"""libedge_bts; :mod:`edge_bts.runtime.native` checks the arguments and calls it.

Frames are not copied; results are new. The GIL is released meanwhile. Errors are the classes of
:mod:`edge_bts.errors`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

class Model:
    def __init__(self, path: str, keys: bytes, allow_unsigned: bool, threads: int) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    @property
    def warnings(self) -> list[str]: ...

class Session:
    def __init__(
        self, model: Model, max_height: int, max_width: int, max_components: int, deadline_us: int
    ) -> None: ...
    def segment(
        self,
        pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
        format: int,
        white: int,
        mm: float,
        roi: list[int],
        timestamp: int,
    ) -> tuple[Any, ...]: ...
    def self_test(self) -> None: ...
