"""From a bundle or a checkpoint to a segmenter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime.backend import Backend, BackendName, open_backend
from edge_bts.runtime.segmenter import Segmenter

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle

__all__ = ["file_for", "open_bundle", "open_checkpoint"]

_REFERENCE = "reference"


def open_bundle(
    path: str | Path,
    *,
    backend: BackendName | Literal["auto"] = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
) -> Segmenter:
    """Open the network of a bundle, every file checked against its hash first.

    Args:
        path: The folder ``NAME.ebts``.
        backend: ``auto`` is OpenVINO, or ONNX Runtime where OpenVINO is not installed; that is
            then said in the segmenter's ``notes``. It is never TensorRT: what lies in a cache
            folder does not change what a command runs; that an engine is there is a note.
        precision: ``int8``, ``fp16`` or ``fp32``; None is the bundle's own.
        threads: Threads inside one inference; None leaves it to the library.
        cache: Folder of engines, for ``tensorrt``; None: ``$EDGE_BTS_CACHE``, else the user's.

    Raises:
        InputError: No bundle, or it does not hold that precision for that backend.
        IntegrityError: A file is not what the manifest says.
        EnvironmentMismatchError: The backend is not installed; with ``auto``, none is; with
            ``tensorrt``, no engine was built here.
        AccuracyGateError: The engine does not answer a golden frame.
    """
    from edge_bts.bundle import open_bundle_folder

    bundle = open_bundle_folder(path)
    manifest = bundle.manifest
    wanted = precision or manifest.precision
    notes: list[str] = []
    if backend == "auto":
        opened = _auto(bundle, wanted, threads, notes)
        _mention_engine(bundle, cache, notes)
    elif backend == "tensorrt":
        opened = _engine(bundle, wanted, threads, cache, notes)
    else:
        opened = _open(bundle, backend, wanted, threads)
    return Segmenter(
        opened,
        imgsz=manifest.geometry.imgsz,
        mean=manifest.normalisation.mean,
        std=manifest.normalisation.std,
        threshold=manifest.threshold,
        presence_threshold=manifest.presence_threshold,
        name=manifest.name,
        notes=notes,
    )


def open_checkpoint(
    path: str | Path, *, device: str = "cpu", threads: int | None = None
) -> Segmenter:
    """Open a checkpoint in PyTorch, float32.

    Args:
        path: A ``.safetensors`` file of ``edge-bts train`` or ``distill``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads inside one inference, for the whole process; None leaves it as it is.

    Raises:
        InputError: No checkpoint, a damaged one, or one of another model.
        EnvironmentMismatchError: PyTorch or the device is not here.
    """
    from edge_bts.runtime._torch import TorchBackend, import_torch

    import_torch()
    from edge_bts.models import load_checkpoint

    module, checkpoint = load_checkpoint(path)
    return Segmenter(
        TorchBackend(module, threads=threads, device=device),
        imgsz=checkpoint.imgsz,
        mean=checkpoint.mean,
        std=checkpoint.std,
        threshold=checkpoint.threshold,
        presence_threshold=checkpoint.presence_threshold,
        name=Path(path).stem,
    )


def _auto(bundle: Bundle, precision: str, threads: int | None, notes: list[str]) -> Backend:
    """Open OpenVINO, or ONNX Runtime with a note that says why."""
    try:
        return _open(bundle, "openvino", precision, threads)
    except EnvironmentMismatchError as error:
        opened = _open(bundle, "onnxruntime", precision, threads)
        notes.append(f"ONNX Runtime runs instead of OpenVINO: {error}")
        return opened


def _engine(
    bundle: Bundle, precision: str, threads: int | None, cache: Path | None, notes: list[str]
) -> Backend:
    from edge_bts.runtime._tensorrt import EngineSource, TensorRtBackend

    file_for(bundle, "tensorrt", precision)  # refuses a precision that no build could have made
    opened = TensorRtBackend(EngineSource(bundle, cache), precision=precision, threads=threads)
    notes += opened.notes
    return opened


def _mention_engine(bundle: Bundle, cache: Path | None, notes: list[str]) -> None:
    from edge_bts.tensorrt.cache import cache_folder, has_engine

    try:
        found = has_engine(bundle, cache_folder(cache))
    except EnvironmentMismatchError:
        return  # no cache folder, so no engine in it
    if found:
        notes.append("a TensorRT engine of this bundle is in the cache; --backend tensorrt runs it")


def _open(bundle: Bundle, kind: BackendName, precision: str, threads: int | None) -> Backend:
    name = file_for(bundle, kind, precision)
    source: bytes | tuple[bytes, bytes] = bundle.read(name)
    if name.endswith(".xml"):
        source = (bundle.read(name), bundle.read(f"{name[:-4]}.bin"))
    return open_backend(kind, source, precision=precision, threads=threads)


def file_for(bundle: Bundle, kind: BackendName, precision: str) -> str:
    """Return the file of a bundle that serves a backend: its own, or the float reference.

    Raises:
        InputError: The bundle holds none of that precision for it.
    """
    if kind == "torch":
        raise InputError(
            "Expected the backend openvino, onnxruntime or tensorrt for a bundle, which holds no "
            "PyTorch weights; give the checkpoint instead to run it in torch."
        )
    own, models = bundle.manifest.precision, bundle.manifest.models
    if precision == own and kind in models:
        return models[kind]
    if precision == "fp32" and _REFERENCE in models:
        return models[_REFERENCE]
    raise InputError(
        f"Expected a precision that {bundle.path} holds for {kind}, but got {precision!r} and it "
        f"has {own} for {', '.join(sorted(models))}; export a bundle with that precision."
    )
