"""One ONNX graph into one plan: the calls that TensorRT 10.3 to 11.x have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_bts.errors import EnvironmentMismatchError
from edge_bts.tensorrt.library import make_logger
from edge_bts.tensorrt.progress import Report, make_monitor

__all__ = ["Compiled", "compile_onnx"]


@dataclass(frozen=True)
class Compiled:
    """What a build gave.

    Attributes:
        plan: The serialised engine.
        timing_cache: Timings for the next build here; None where TensorRT gave none.
        warnings: Of TensorRT, each once.
        notes: What the user should know.
    """

    plan: bytes
    timing_cache: bytes | None
    warnings: list[str]
    notes: list[str]


def compile_onnx(
    trt: Any,
    onnx: bytes,
    *,
    level: int,
    workspace_mib: int,
    tf32: bool,
    timing_cache: bytes | None,
    report: Report,
) -> Compiled:
    """Build a plan.

    The network is strongly typed: the types in the ONNX are the types of the layers.

    Args:
        trt: The module ``tensorrt``.
        onnx: The graph; its weights are not copied before the build ends.
        level: ``builder_optimization_level``, 0 to 5.
        workspace_mib: Limit of scratch memory for a layer.
        tf32: False: FP32 layers keep all their digits.
        timing_cache: Timings of an earlier build here.
        report: Is told of the progress.

    Raises:
        EnvironmentMismatchError: TensorRT cannot read the graph, or finds no kernels; all that it
            said is passed on.
        KeyboardInterrupt: The user stopped the build.
    """
    logger = make_logger(trt)
    builder = _make(trt.Builder, logger)
    network = builder.create_network(_strongly_typed(trt))
    parser = _make(trt.OnnxParser, network, logger)
    if not parser.parse(onnx):
        errors = [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EnvironmentMismatchError(
            f"Expected an ONNX that TensorRT {trt.__version__} reads, but its parser says: "
            f"{'; '.join(errors) or logger.errors()}; check the file with "
            "`edge-bts inspect --lint tensorrt`."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.builder_optimization_level = level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector needs it
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    notes: list[str] = []
    timings = _set_timings(config, timing_cache, notes)  # must live until the build ends
    monitor = make_monitor(trt, report)
    if monitor is None:
        notes.append("this TensorRT reports no progress")
    else:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.stopped is not None:
        raise monitor.stopped
    if plan is None:
        raise EnvironmentMismatchError(
            f"Expected TensorRT {trt.__version__} to build an engine, but it gave none: "
            f"{logger.errors()}; if memory was short, pass a smaller --workspace-mib or --level."
        )
    found = config.get_timing_cache() if timings is not None else None
    serialised = None if found is None else found.serialize()
    return Compiled(
        plan=bytes(plan),
        timing_cache=None if serialised is None else bytes(serialised),
        warnings=logger.warnings(),
        notes=notes,
    )


def _make(kind: Any, *arguments: Any) -> Any:
    """Construct an object of TensorRT; where it can make none, pybind11 raises TypeError."""
    try:
        return kind(*arguments)
    except (TypeError, RuntimeError) as error:
        logger = arguments[-1]
        raise EnvironmentMismatchError(
            f"Expected TensorRT to start, but it makes no {kind.__name__} ({logger.errors()}; "
            f"{error}); check GPU and driver with `edge-bts doctor`."
        ) from None


def _strongly_typed(trt: Any) -> int:
    """Return the creation flags: by name, for the numbers changed from 10 to 11.

    In 11 every network is strongly typed, the flag is deprecated and may go.
    """
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_error(error: Any) -> str:
    where = f"node {error.node()}"
    if name := error.node_name():
        where = f"{where} {name}"
    if operator := error.node_operator():
        where = f"{where} ({operator})"
    return f"{where}: {' '.join(error.desc().split())}"


def _set_timings(config: Any, stored: bytes | None, notes: list[str]) -> Any | None:
    """Give the builder the timings of an earlier build, or empty ones to fill."""
    if stored:
        cache = config.create_timing_cache(stored)
        # A cache of another device would choose kernels by its timings: never ignore that.
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
        notes.append("TensorRT refused the stored timing cache; it starts an empty one")
    cache = config.create_timing_cache(b"")
    if cache is not None and config.set_timing_cache(cache, False):
        return cache
    notes.append("TensorRT takes no timing cache; the next build will be as slow as this one")
    return None
