"""The C++ core; :mod:`edge_bts.geometry` checks the arguments and calls it.

Arrays are C-contiguous and are not copied; results are new. The GIL is released meanwhile.
"""

import numpy as np
import numpy.typing as npt

__version__: str
compiler: str
runtime_missing: str
"""What _runtime was not built for, in words; empty where it was built."""
openvino: str
"""Version of OpenVINO that _runtime was built with."""

def letterbox(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]: ...
def letterbox_mask(mask: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]: ...
def normalise(image: npt.NDArray[np.uint8], mean: float, std: float) -> npt.NDArray[np.float32]: ...
def to_source(
    probability: npt.NDArray[np.float32], source_height: int, source_width: int
) -> npt.NDArray[np.float32]: ...
def threshold(probability: npt.NDArray[np.float32], value: float) -> npt.NDArray[np.uint8]: ...
