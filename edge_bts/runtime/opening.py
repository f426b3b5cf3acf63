"""From a bundle or a checkpoint to a segmenter.

A bundle's network is opened in this order, and what a step refuses no later one sees: the folder
(:mod:`edge_bts.bundle`: caps, signature, manifest, names and sizes), the library's version, the
hashed bytes of the model, for ONNX what they hold (:mod:`edge_bts.onnx_wire`), the library, and
one golden frame (:mod:`edge_bts.golden`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime.backend import (
    Backend,
    BackendName,
    IrBytes,
    library_version,
    open_backend,
)
from edge_bts.runtime.segmenter import Segmenter

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle
    from edge_bts.signing import Trust

__all__ = ["file_for", "open_bundle", "open_checkpoint", "open_network", "read_model"]

_REFERENCE = "reference"


def open_bundle(
    path: str | Path,
    *,
    trust: Trust | None = None,
    backend: BackendName | Literal["auto"] = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    self_test: bool = True,
) -> Segmenter:
    """Open the network of a bundle.

    Args:
        path: The folder ``NAME.ebts``.
        trust: Whose bundles are opened; None is :func:`edge_bts.signing.find_trust`. What it
            allows besides is said in the segmenter's ``notes``.
        backend: ``auto`` is OpenVINO, or ONNX Runtime where OpenVINO is not installed; that is
            then said in the ``notes``. It is never TensorRT: what lies in a cache folder does not
            change what a command runs; that an engine is there is a note.
        precision: ``int8``, ``fp16`` or ``fp32``; None is the bundle's own.
        threads: Threads inside one inference; None leaves it to the library.
        cache: Folder of engines, for ``tensorrt``; None: ``$EDGE_BTS_CACHE``, else the user's.
        self_test: Run one golden frame and compare. The frames are for the bundle's own precision;
            where there are none for what is opened, the ``notes`` say so. An engine of TensorRT
            is always tested.

    Raises:
        InputError: No bundle, or it does not hold that precision for that backend.
        IntegrityError: The signature is missing, wrong or by an unknown key, a file is not what
            the manifest says, or a model reaches beyond its own bytes.
        EnvironmentMismatchError: The backend is not installed (with ``auto``, none is) or too old,
            it does not reproduce the golden frame, or no engine was built here.
    """
    from edge_bts.bundle import open_bundle_folder

    return open_network(
        open_bundle_folder(path, trust),
        backend=backend,
        precision=precision,
        threads=threads,
        cache=cache,
        self_test=self_test,
    )


def open_network(
    bundle: Bundle,
    *,
    backend: BackendName | Literal["auto"] = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache: Path | None = None,
    self_test: bool = True,
) -> Segmenter:
    """Open the network of a bundle whose folder is open; as :func:`open_bundle`."""
    manifest = bundle.manifest
    wanted = precision or manifest.precision
    notes = [bundle.maker.doubt] if bundle.maker.doubt else []
    if backend == "auto":
        opened = _auto(bundle, wanted, threads, notes)
        _mention_engine(bundle, cache, notes)
    elif backend == "tensorrt":
        opened = _engine(bundle, wanted, threads, cache, notes)
    else:
        opened = _open(bundle, backend, wanted, threads)
    if self_test and backend != "tensorrt":  # which has passed its own
        _self_test(bundle, opened, notes)
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
    bundle.manifest.check_runtime(kind, library_version(kind))
    source = read_model(bundle, name)
    return open_backend(kind, source, precision=precision, threads=threads)


def _self_test(bundle: Bundle, opened: Backend, notes: list[str]) -> None:
    from edge_bts.golden import GOLDEN_NAME, read_golden, self_test

    manifest = bundle.manifest
    if opened.precision != manifest.precision:
        notes.append(
            f"not self-tested: the golden frames are for {manifest.precision}, "
            f"not {opened.precision}"
        )
    elif GOLDEN_NAME not in manifest.files:
        notes.append(f"not self-tested: the bundle has no {GOLDEN_NAME}")
    else:
        self_test(
            opened.infer,
            read_golden(bundle.read(GOLDEN_NAME), manifest.imgsz),
            manifest,
            who=f"{opened.name} {opened.version}",
            mend="try another --backend, or the version of the library that report.json names",
        )


def read_model(bundle: Bundle, name: str) -> bytes | IrBytes:
    """Return a model of a bundle as :func:`open_backend` takes it: hashed and checked bytes.

    Args:
        bundle: The bundle.
        name: Of the file; an ``.xml`` comes with the ``.bin`` of the same stem.

    Raises:
        InputError: The manifest does not list it, or it is no ONNX model that may be opened.
        IntegrityError: It is not what the manifest says, or reaches beyond its own bytes.
    """
    from edge_bts.onnx_wire import check_graph

    content = bundle.read(name)
    if name.endswith(".xml"):
        return content, bundle.read(f"{name[:-4]}.bin")
    check_graph(content, name)
    return content


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
