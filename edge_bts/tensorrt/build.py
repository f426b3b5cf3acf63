"""What `edge-bts build` does: a bundle into a checked engine in this device's cache."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_bts.bundle import Bundle
from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError
from edge_bts.files import sha256_bytes, write_bytes
from edge_bts.tensorrt.answer import check_answer
from edge_bts.tensorrt.cache import (
    EngineKey,
    Flags,
    Onnx,
    Sidecar,
    cache_folder,
    read_engine,
    write_engine,
)
from edge_bts.tensorrt.compiling import Compiled, compile_onnx
from edge_bts.tensorrt.cuda import Cuda
from edge_bts.tensorrt.device import Device, free_mib, open_device
from edge_bts.tensorrt.execution import Execution
from edge_bts.tensorrt.inspector import count_layers
from edge_bts.tensorrt.library import library_version
from edge_bts.tensorrt.onnx_head import read_onnx_head
from edge_bts.tensorrt.progress import Report

__all__ = ["LEVELS", "BuildPlan", "BuildRequest", "Built", "build_engine", "prepare"]

LEVELS = range(6)
_LEAST_WORKSPACE_MIB = 64
Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """What is asked for.

    Attributes:
        bundle: Opened, so signature and manifest are checked.
        precision: ``int8``, ``fp16`` or ``fp32``; None is the bundle's own.
        level: Of the builder's optimisation, 0 to 5; None is TensorRT's default, 3.
        workspace_mib: Limit of scratch memory; None: by free memory.
        cache: Folder; None: see :func:`~edge_bts.tensorrt.cache.cache_folder`.
        cuda_graph: Whether the engine shall be run as a CUDA graph.
        force: Build again although a valid engine is there.
    """

    bundle: Bundle
    precision: str | None = None
    level: int | None = None
    workspace_mib: int | None = None
    cache: Path | None = None
    cuda_graph: bool = False
    force: bool = False


@dataclass(frozen=True)
class BuildPlan:
    """A request, opened and checked on this device."""

    request: BuildRequest
    bundle: Bundle
    onnx_name: str
    onnx: bytes
    trt: Any
    cuda: Cuda
    device: Device
    key: EngineKey
    free_mib: int
    level: int
    workspace_mib: int

    @property
    def tf32(self) -> bool:
        """Whether FP32 layers may drop digits: not where FP32 is what was asked for."""
        return self.key.precision != "fp32"

    @property
    def needs_mib(self) -> int:
        """Workspace and three copies of the weights; libraries and CUDA's context come on top."""
        return self.workspace_mib + 3 * (len(self.onnx) >> 20) + 1

    def __str__(self) -> str:
        """Return the plan, one fact a line."""
        device, key = self.device, self.key
        memory = "shared with the CPU" if device.integrated else "of the GPU alone"
        why = (
            "as asked for"
            if self.request.workspace_mib
            else f"{'a quarter' if device.integrated else 'half'} of what is free, at most "
            f"{_cap(device)} MiB"
        )
        tegra = f", L4T {device.l4t}, JetPack {device.jetpack}" if device.l4t else ""
        return "\n".join(
            (
                f"{self.bundle.manifest.name} ({key.precision}): {self.onnx_name}, "
                f"{len(self.onnx) / 1e6:.1f} MB",
                f"TensorRT {key.tensorrt} on {device.gpu} (compute capability "
                f"{device.compute_capability}, {device.sm_count} SMs{tegra})",
                f"memory: {self.free_mib} of {device.memory_mib} MiB are free, {memory}",
                f"workspace: {self.workspace_mib} MiB, {why}",
                f"the build needs about {self.needs_mib} MiB; libraries and CUDA's context, some "
                "hundreds, come on top",
                f"optimisation level {self.level}, strongly typed, "
                f"TF32 {'allowed in FP32 layers' if self.tf32 else 'off'}, "
                f"to be run {'as a CUDA graph' if self.request.cuda_graph else 'without graph'}",
                f"engine: {key.plan}",
                f"timing cache: {key.timing_cache}",
            )
        )


@dataclass(frozen=True)
class Built:
    """An engine that stands in the cache and answered its golden frames.

    Attributes:
        path: Of the plan.
        sidecar: What is known of it.
        fresh: False: it was there before and is still valid.
        notes: What the user should know.
    """

    path: Path
    sidecar: Sidecar
    fresh: bool
    notes: list[str]


def prepare(request: BuildRequest) -> BuildPlan:
    """Open the model, then TensorRT and the GPU; nothing is built or written.

    Raises:
        InputError: The bundle has none of that precision; a level or workspace without sense.
        IntegrityError: The ONNX is not what the manifest says.
        EnvironmentMismatchError: TensorRT, CUDA or GPU is not here, or memory is short.
    """
    from edge_bts.runtime.opening import file_for, read_model

    if request.level is not None and request.level not in LEVELS:
        raise InputError(
            f"Expected --level {LEVELS.start} to {LEVELS.stop - 1}, but got {request.level}."
        )
    if request.workspace_mib is not None and request.workspace_mib < 1:
        raise InputError(
            f"Expected --workspace-mib of at least 1, but got {request.workspace_mib}."
        )
    bundle = request.bundle
    precision = request.precision or bundle.manifest.precision
    name = file_for(bundle, "tensorrt", precision)
    onnx = read_model(bundle, name)
    assert isinstance(onnx, bytes)  # TensorRT reads no IR
    trt, cuda, device = open_device()
    free = free_mib(cuda, device)
    plan = BuildPlan(
        request=request,
        bundle=bundle,
        onnx_name=name,
        onnx=onnx,
        trt=trt,
        cuda=cuda,
        device=device,
        key=EngineKey.of(
            bundle, cache_folder(request.cache), library_version(trt), device, precision
        ),
        free_mib=free,
        level=3 if request.level is None else request.level,
        workspace_mib=request.workspace_mib or _workspace(device, free),
    )
    if plan.needs_mib > free:
        raise EnvironmentMismatchError(
            f"Expected {plan.needs_mib} MiB of free memory for a build with a workspace of "
            f"{plan.workspace_mib} MiB, but {free} are free; close other programs or pass a "
            "smaller --workspace-mib."
        )
    return plan


def build_engine(plan: BuildPlan, report: Report, say: Say) -> Built:
    """Build, check and write an engine, unless a valid one of the same settings is there.

    Args:
        plan: From :func:`prepare`.
        report: Is told of the progress.
        say: Takes a line.

    Raises:
        EnvironmentMismatchError: TensorRT cannot build it, or it does not reproduce the golden
            frames; nothing is written.
        KeyboardInterrupt: The user stopped the build; nothing is written.
    """
    if not plan.request.force and (found := _valid(plan, say)) is not None:
        return found
    key = plan.key
    say(f"Building {key.plan.name}; this takes minutes.")
    started = time.monotonic()
    compiled = compile_onnx(
        plan.trt,
        plan.onnx,
        level=plan.level,
        workspace_mib=plan.workspace_mib,
        tf32=plan.tf32,
        timing_cache=_timings(key.timing_cache),
        report=report,
    )
    seconds = time.monotonic() - started
    if compiled.timing_cache is not None:
        write_bytes(key.timing_cache, compiled.timing_cache)
    sidecar, notes = _judge(plan, compiled, seconds)
    write_engine(key, compiled.plan, sidecar)
    return Built(key.plan, sidecar, fresh=True, notes=[*compiled.notes, *notes])


def _cap(device: Device) -> int:
    # Small networks gain nothing from more; on a Jetson the memory is the CPU's too, and the
    # kernel kills who takes the last of it.
    return 1024 if device.integrated else 4096


def _workspace(device: Device, free_mib: int) -> int:
    share = free_mib // (4 if device.integrated else 2)
    return max(_LEAST_WORKSPACE_MIB, min(share, _cap(device)))


def _valid(plan: BuildPlan, say: Say) -> Built | None:
    """Return the engine that is there if it passes every check and is what was asked for."""
    key, request = plan.key, plan.request
    if not key.sidecar.exists():
        return None
    try:
        content, sidecar = read_engine(key)
        asked = {"level": request.level, "workspace_mib": request.workspace_mib}
        other = [
            f"{name} {getattr(sidecar.flags, name)}, not {value}"
            for name, value in asked.items()
            if value not in (None, getattr(sidecar.flags, name))
        ]
        if other:
            say(f"The engine that is there was built with {' and '.join(other)}.")
            return None
        execution = _open(plan, content)
        try:
            check_answer(execution.infer, plan.bundle, key.precision, key.mend, frames=1)
        finally:
            execution.close()
    except EdgeBtsError as error:
        say(f"The engine that is there is not used: {error}")
        return None
    if sidecar.cuda_graph != request.cuda_graph:
        sidecar = sidecar.model_copy(update={"cuda_graph": request.cuda_graph})
        write_engine(key, content, sidecar)
    return Built(key.plan, sidecar, fresh=False, notes=execution.notes)


def _open(plan: BuildPlan, content: bytes) -> Execution:
    return Execution(
        plan.trt,
        plan.cuda,
        content,
        plan.bundle.manifest.imgsz,
        mend=plan.key.mend,
        graph=plan.request.cuda_graph,
    )


def _judge(plan: BuildPlan, compiled: Compiled, seconds: float) -> tuple[Sidecar, list[str]]:
    """Run the new engine before anything of it is written, and describe it."""
    key, bundle = plan.key, plan.bundle
    execution = _open(plan, compiled.plan)
    try:
        mend = "try another --level, or report it with the sidecar's figures"
        answer = check_answer(execution.infer, bundle, key.precision, mend)
        inspection = count_layers(execution.inspect())
    finally:
        execution.close()
    notes = list(execution.notes)
    if inspection is None:
        notes.append("TensorRT's inspector gave no layers that could be counted")
    elif key.precision == "int8" and not inspection.int8_layers:
        notes.append("no layer of this INT8 engine runs in INT8")
    ir, opset = read_onnx_head(plan.onnx)
    sidecar = Sidecar(
        manifest_sha256=key.manifest_sha256,
        model=bundle.manifest.name,
        precision=key.precision,
        tensorrt=key.tensorrt,
        device=plan.device,
        flags=Flags(tf32=plan.tf32, level=plan.level, workspace_mib=plan.workspace_mib),
        onnx=Onnx(file=plan.onnx_name, sha256=sha256_bytes(plan.onnx), ir=ir, opset=opset),
        ports=execution.ports,
        quantization=_quantization(bundle, key.precision),
        plan_size=len(compiled.plan),
        plan_sha256=sha256_bytes(compiled.plan),
        timing_cache_sha256=(
            None if compiled.timing_cache is None else sha256_bytes(compiled.timing_cache)
        ),
        inspection=inspection,
        answer=answer,
        build_seconds=round(seconds, 1),
        warnings=compiled.warnings,
        cuda_graph=plan.request.cuda_graph,
    )
    return sidecar, notes


def _timings(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _quantization(bundle: Bundle, precision: str) -> dict[str, Any] | None:
    """Return the export's own summary of what is INT8, layer by layer left out."""
    if precision != "int8" or "report.json" not in bundle.manifest.files:
        return None
    found = json.loads(bundle.read("report.json")).get("quantization")
    if not isinstance(found, dict):
        return None
    return {name: value for name, value in found.items() if name != "layers"}
