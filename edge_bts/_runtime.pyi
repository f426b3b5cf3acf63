"""libedge_bts; :mod:`edge_bts.runtime.native` checks the arguments and calls it.

Frames are not copied; results are new. The GIL is released meanwhile. Errors are the classes of
:mod:`edge_bts.errors`.
"""

from collections.abc import Callable
from typing import Any

__version__: str
backends: str
"""Those that the library was built with, a space between them."""

def layout(pixels: Any) -> tuple[int, list[int], list[int], int]:
    """Bits of an unsigned integer (else 0), shape, strides in bytes, address."""

class Model:
    def __init__(
        self,
        path: str,
        keys: bytes,
        allow_unsigned: bool,
        threads: int,
        pin_threads: bool,
        cache_dir: str,
        backend: str,
        engine_folder: str,
    ) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    @property
    def warnings(self) -> list[str]: ...

class Limits:
    def __init__(
        self,
        max_height: int,
        max_width: int,
        max_components: int,
        deadline_us: int,
        presence_keep: float,
        memory: int,
    ) -> None: ...

class Session:
    def __init__(self, model: Model, limits: Limits) -> None: ...
    def segment(
        self,
        pixels: Any,
        format: int,
        white: int,
        mm: float,
        roi: list[int],
        sector: list[int],
        timestamp: int,
    ) -> tuple[Any, ...]: ...
    def self_test(self) -> None: ...
    def counts(self) -> tuple[int, int, int, int, int]: ...
    def close(self) -> None: ...

class LiveSession(Session):
    def __init__(
        self, model: Model, limits: Limits, stale_us: int, ready: Callable[[], object] | None
    ) -> None: ...
    def submit(
        self,
        pixels: Any,
        format: int,
        white: int,
        mm: float,
        roi: list[int],
        sector: list[int],
        timestamp: int,
    ) -> None: ...
    def poll(self, wait_us: int) -> tuple[Any, ...] | None: ...
