"""A module ``tensorrt`` made from the record of a real version's bindings.

What the record lacks raises AttributeError, read or set; a call with arguments that no recorded
signature takes raises TypeError. Behind the names stands a builder whose plans hold the graph's
hash and an engine that computes ``World.network``. It says nothing about speed, kernels or INT8.
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import json
import struct
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_TAG = 0x74727466


@dataclass
class World:
    """What the fake does.

    Attributes:
        runtime: The fake CUDA runtime that engines enqueue on.
        side: S of the network.
        network: Maps (S, S) float32 to (S, S) float32.
        failing: Names of calls that fail as the real ones do: by None, False or an exception.
        calls: What was called, in order, as ``Class.method``.
        config: The last builder configuration.
        warning: Logged whenever a plan is deserialised, if not empty.
        dtype: Name of the DataType of inputs and outputs.
    """

    runtime: Any
    side: int
    network: Callable[[np.ndarray], np.ndarray]
    failing: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    config: Any = None
    warning: str = ""
    dtype: str = "FLOAT"


def numbers(version: str) -> list[int]:
    """Return (major, minor, patch, build) of a version, 0 for what it leaves out."""
    found = [int(part) for part in version.split(".") if part.isdigit()]
    return [*found, 0, 0, 0, 0][:4]


def plan_of(version: str, content: dict[str, Any]) -> bytes:
    """Return a plan with the head that a real one has."""
    head = struct.pack("<II", _TAG, 0) + bytes(16) + bytes(n % 256 for n in numbers(version))
    return head + json.dumps(content).encode()


def make_fake(record: dict[str, Any], world: World) -> types.ModuleType:
    """Return the module of the version that ``record`` is of."""
    module = types.ModuleType("tensorrt")
    module.__version__ = record["version"]  # type: ignore[attr-defined]
    for name, members in record["enums"].items():
        if "." not in name:
            setattr(module, name, enum.IntEnum(name, members))
    behaviour = _Behaviour(module, world, record)
    known = set()
    for name, described in record["classes"].items():
        setattr(module, name, _make_class(name, described, behaviour))
        known |= {
            f"{name}_{member}" for member in (*described["methods"], *described["properties"])
        }
    module.ILogger.Severity = enum.IntEnum("Severity", record["enums"]["ILogger.Severity"])
    strange = {n for n in dir(behaviour) if n[0].isupper()} - known
    assert not strange, f"the fake does what {record['version']} has not: {strange}"
    return module


def _make_class(name: str, described: dict[str, Any], behaviour: Any) -> type:
    body: dict[str, Any] = {}
    for method, overloads in described["methods"].items():
        body[method] = _method(name, method, overloads, behaviour)
    for attribute, access in described["properties"].items():
        body[attribute] = _property(name, attribute, access, behaviour)

    def refuse(self: Any, attribute: str, value: Any) -> None:
        kind = getattr(type(self), attribute, None)
        private = attribute.startswith("_fake") or type(self) is not made
        if not private and not isinstance(kind, property):
            raise AttributeError(f"{name} has no attribute {attribute}")
        object.__setattr__(self, attribute, value)

    body["__setattr__"] = refuse
    made = type(name, (), body)
    return made


def _method(owner: str, name: str, overloads: list[str], behaviour: Any) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        if not any(_fits(parameters, arguments, named) for parameters in overloads):
            raise TypeError(f"{owner}.{name}(): incompatible function arguments, takes {overloads}")
        behaviour.world.calls.append(f"{owner}.{name}")
        done = getattr(behaviour, f"{owner}_{name}", None)
        if done is None:
            raise NotImplementedError(f"the fake does not do {owner}.{name}")
        return done(self, *arguments, **named)

    return call


def _fits(parameters: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    wanted = [p for p in parameters.split(", ") if p]
    names = [p.rstrip("=") for p in wanted]
    left = wanted[len(arguments) :]
    return (
        len(arguments) <= len(wanted)
        and set(named) <= set(names[len(arguments) :])
        and all(p.endswith("=") or p in named for p in left)
    )


def _property(owner: str, name: str, access: str, behaviour: Any) -> property:
    def get(self: Any) -> Any:
        done = getattr(behaviour, f"{owner}_{name}", None)
        return getattr(self, f"_fake_{name}") if done is None else done(self)

    def put(self: Any, value: Any) -> None:
        behaviour.world.calls.append(f"{owner}.{name}=")
        object.__setattr__(self, f"_fake_{name}", value)

    return property(get, put if "set" in access else None)


class _Memory(bytes):
    """IHostMemory: what it gives by the buffer protocol."""


class _Behaviour:
    """What stands behind the names: ``Class_member(self, object, ...)``."""

    def __init__(self, module: Any, world: World, record: dict[str, Any]) -> None:
        self.trt, self.world, self.record = module, world, record

    def _fails(self, call: str) -> bool:
        return call in self.world.failing

    def _new(self, kind: str, **attributes: Any) -> Any:
        made = object.__new__(getattr(self.trt, kind))
        for name, value in attributes.items():
            object.__setattr__(made, f"_fake_{name}", value)
        return made

    def _start(self, made: Any, kind: str, logger: Any, **attributes: Any) -> None:
        assert isinstance(logger, self.trt.ILogger)
        if self._fails(kind):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        for name, value in {"logger": logger, **attributes}.items():
            object.__setattr__(made, f"_fake_{name}", value)

    def _log(self, logger: Any, severity: str, text: str) -> None:
        logger.log(self.trt.ILogger.Severity[severity], text)

    def ILogger___init__(self, made: Any) -> None: ...

    def IProgressMonitor___init__(self, made: Any) -> None: ...

    def Builder___init__(self, made: Any, logger: Any) -> None:
        self._start(made, "Builder", logger)

    def Builder_create_network(self, made: Any, flags: int = 0) -> Any:
        strong = self.record["enums"]["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"]
        assert flags == 1 << strong, "the network must be strongly typed"
        return self._new("INetworkDefinition", graph=None)

    def Builder_create_builder_config(self, made: Any) -> Any:
        config = self._new("IBuilderConfig", flags={"TF32"}, pools={}, progress_monitor=None)
        self.world.config = config
        return config

    def Builder_build_serialized_network(self, made: Any, network: Any, config: Any) -> Any:
        logger = made._fake_logger
        if not self._progress(config):
            return None
        if self._fails("Builder.build_serialized_network"):
            self._log(logger, "ERROR", "Error Code 10: Could not find any implementation for node")
            self._log(logger, "INTERNAL_ERROR", "Error Code 2: out of memory")
            return None
        self._log(logger, "WARNING", "a warning of the builder")
        content = {"graph": hashlib.sha256(network._fake_graph).hexdigest()}
        return _Memory(plan_of(self.trt.__version__, content))

    def _progress(self, config: Any) -> bool:
        monitor = config._fake_progress_monitor
        if monitor is None:
            return True
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Tactics", "Building", 3)
        going = all(monitor.step_complete("Tactics", step) for step in range(3))
        monitor.phase_finish("Tactics")
        monitor.phase_finish("Building")
        return going

    def IBuilderConfig_set_memory_pool_limit(self, made: Any, pool: Any, pool_size: int) -> None:
        made._fake_pools[self.trt.MemoryPoolType(pool).name] = pool_size

    def IBuilderConfig_clear_flag(self, made: Any, flag: Any) -> None:
        made._fake_flags.discard(self.trt.BuilderFlag(flag).name)

    def IBuilderConfig_create_timing_cache(self, made: Any, serialized_timing_cache: bytes) -> Any:
        if self._fails("IBuilderConfig.create_timing_cache"):
            return None
        return self._new("ITimingCache", content=serialized_timing_cache)

    def IBuilderConfig_set_timing_cache(self, made: Any, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache._fake_content and self._fails("IBuilderConfig.set_timing_cache"):
            return False
        object.__setattr__(made, "_fake_cache", cache)
        return True

    def IBuilderConfig_get_timing_cache(self, made: Any) -> Any:
        return made._fake_cache

    def ITimingCache_serialize(self, made: Any) -> Any:
        return _Memory(made._fake_content + b"timed")

    def OnnxParser___init__(self, made: Any, network: Any, logger: Any) -> None:
        self._start(made, "OnnxParser", logger, network=network)

    def OnnxParser_parse(self, made: Any, model: bytes, path: str | None = None) -> bool:
        object.__setattr__(made._fake_network, "_fake_graph", model)
        return not self._fails("OnnxParser.parse")

    def OnnxParser_num_errors(self, made: Any) -> int:
        return 2 if self._fails("OnnxParser.parse") else 0

    def OnnxParser_get_error(self, made: Any, index: int) -> Any:
        return self._new("ParserError", index=index)

    def ParserError_desc(self, made: Any) -> str:
        return f"no importer for\nthis, {made._fake_index}"

    def ParserError_node(self, made: Any) -> int:
        return int(made._fake_index)

    def ParserError_node_name(self, made: Any) -> str:
        return "/head/Conv" if made._fake_index else ""

    def ParserError_node_operator(self, made: Any) -> str:
        return "Conv" if made._fake_index else ""

    def Runtime___init__(self, made: Any, logger: Any) -> None:
        self._start(made, "Runtime", logger)

    def Runtime_deserialize_cuda_engine(self, made: Any, serialized_engine: bytes) -> Any:
        version = list(serialized_engine[24:28])
        mine = [n % 256 for n in numbers(self.trt.__version__)]
        if self._fails("Runtime.deserialize_cuda_engine") or version != mine:
            self._log(made._fake_logger, "ERROR", "generated on an incompatible device")
            return None
        if self.world.warning:
            self._log(made._fake_logger, "WARNING", self.world.warning)
        return self._new("ICudaEngine", logger=made._fake_logger)

    def ICudaEngine_num_io_tensors(self, made: Any) -> int:
        return 2

    def ICudaEngine_get_tensor_name(self, made: Any, index: int) -> str:
        return ("image", "probability")[index]

    def ICudaEngine_get_tensor_mode(self, made: Any, name: str) -> Any:
        return self.trt.TensorIOMode["INPUT" if name == "image" else "OUTPUT"]

    def ICudaEngine_get_tensor_dtype(self, made: Any, name: str) -> Any:
        return self.trt.DataType[self.world.dtype]

    def ICudaEngine_get_tensor_shape(self, made: Any, name: str) -> Any:
        return (1, 1, self.world.side, self.world.side)

    def ICudaEngine_get_tensor_format(self, made: Any, name: str) -> Any:
        return self.trt.TensorFormat.LINEAR

    def ICudaEngine_create_execution_context(self, made: Any) -> Any:
        if self._fails("ICudaEngine.create_execution_context"):
            self._log(made._fake_logger, "ERROR", "out of memory")
            return None
        return self._new(
            "IExecutionContext", addresses={}, logger=made._fake_logger, state={"warm": False}
        )

    def ICudaEngine_create_engine_inspector(self, made: Any) -> Any:
        return self._new("EngineInspector")

    def EngineInspector_get_engine_information(self, made: Any, format: Any) -> str:
        assert format == self.trt.LayerInformationFormat.JSON
        detailed = self.world.config._fake_profiling_verbosity
        assert detailed == self.trt.ProfilingVerbosity.DETAILED
        return json.dumps({"Layers": _layers(numbers(self.trt.__version__)[0])})

    def IExecutionContext_set_tensor_address(self, made: Any, name: str, memory: int) -> bool:
        made._fake_addresses[name] = memory
        return not self._fails("IExecutionContext.set_tensor_address")

    def IExecutionContext_execute_async_v3(self, made: Any, stream_handle: int) -> bool:
        runtime = self.world.runtime
        assert stream_handle, "the default stream costs a synchronisation"
        capturing = stream_handle in runtime.capturing
        cold = capturing and not made._fake_state["warm"]  # what the first run sets up
        if self._fails("IExecutionContext.execute_async_v3") or (
            cold or (capturing and self._fails("capture"))
        ):
            self._log(made._fake_logger, "ERROR", "not permitted when stream is capturing")
            return False
        made._fake_state["warm"] = True
        runtime.enqueue(stream_handle, lambda: self._compute(made))
        return True

    def _compute(self, context: Any) -> None:
        side = self.world.side
        kind = ctypes.c_float * (side * side)
        addresses = context._fake_addresses
        image = np.ctypeslib.as_array(kind.from_address(addresses["image"]))
        output = np.ctypeslib.as_array(kind.from_address(addresses["probability"]))
        output[:] = self.world.network(image.reshape(side, side)).reshape(-1)


def _layers(major: int) -> list[dict[str, Any]]:
    """Return a reformat and an INT8 convolution, in the form of 10.x or of 11.x."""

    def tensor(kind: str) -> dict[str, Any]:
        if major >= 11:
            return {"Name": "t", "Format": "Row major linear", "Datatype": kind}
        return {"Name": "t", "Format/Datatype": f"Row major linear {kind} format"}

    return [
        {"LayerType": "Reformat", "Inputs": [tensor("FP32")], "Outputs": [tensor("Int8")]},
        {"LayerType": "CaskConvolution", "Inputs": [tensor("Int8")], "Outputs": [tensor("FP16")]},
    ]
