"""What NNCF needs around it: quiet, and a compiled extension."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.telemetry import no_telemetry

__all__ = ["need_extension", "quiet"]

_TIMEOUT_SECONDS = 600  # two slow cores need one minute; NNCF's own limit is 60 s


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the tracers say of every export and what cannot be acted on."""
    no_telemetry()
    import nncf

    nncf.set_log_level(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def need_extension() -> None:
    """Compile and load NNCF's CPU extension, once a machine; a minute on two cores.

    It is built in a cache of our own, under a lock that dies with its process. So a ``lock`` file
    of torch found there is left from an aborted build, and is removed: torch would wait for it
    for ever.

    Raises:
        EnvironmentMismatchError: The build did not end in time.
    """
    os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", str(_TIMEOUT_SECONDS))
    _path_of_ninja()
    folder = _cache_folder()
    # A process that we started has inherited the variable: then it names our folder.
    if os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(folder)) != str(folder):
        _load()  # the user's own folder: others may build there, its locks are not ours
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentMismatchError(
            f"Expected to build NNCF's extension in {folder}, but {error.strerror}; set "
            "TORCH_EXTENSIONS_DIR to a folder that can be written."
        ) from None
    with _locked(folder / "edge-bts.lock"):
        for stale in folder.glob("**/lock"):
            stale.unlink(missing_ok=True)
        _load()


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-bts" / "torch_extensions"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows; two first exports at once are rare
        yield
        return
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _load() -> None:
    no_telemetry()
    from nncf.torch.extensions import ExtensionLoaderTimeoutException
    from nncf.torch.quantization.extensions import QuantizedFunctionsCPU

    try:
        QuantizedFunctionsCPU.get("Quantize_forward")
    except ExtensionLoaderTimeoutException:
        raise EnvironmentMismatchError(
            "Expected NNCF's extension to be compiled within "
            f"{os.environ['NNCF_EXTENSION_LOAD_TIMEOUT']} s, but it was not; remove stale files "
            f"named lock under {os.environ['TORCH_EXTENSIONS_DIR']} or raise "
            "NNCF_EXTENSION_LOAD_TIMEOUT."
        ) from None


def _path_of_ninja() -> None:
    # torch calls `ninja` by name; a virtual environment that is not activated is not on the path.
    scripts = str(Path(sys.executable).parent)
    if scripts not in (path := os.environ.get("PATH", "")).split(os.pathsep):
        os.environ["PATH"] = f"{scripts}{os.pathsep}{path}"
