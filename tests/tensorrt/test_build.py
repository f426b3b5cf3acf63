"""`edge-bts build` against fakes that have what the real bindings of each version have."""

from __future__ import annotations

import os
import signal
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_device import Machine, Phases

from edge_bts.errors import EdgeBtsError, EnvironmentMismatchError, InputError, SelfTestError
from edge_bts.files import sha256_bytes
from edge_bts.tensorrt.build import BuildRequest, prepare
from edge_bts.tensorrt.cache import Sidecar


def files_of(machine: Machine) -> list[str]:
    """Names of what lies in the cache, without timings."""
    found = [path for path in machine.cache.rglob("*") if path.is_file()]
    return sorted(path.name for path in found if not path.name.startswith("timing-"))


def test_an_engine_is_built_checked_and_described(machine: Machine, build: Any) -> None:
    """With 10.3, 10.13 and 11.4: plan and sidecar lie in the cache and say the same."""
    built = build()
    sidecar = Sidecar.model_validate_json(built.path.with_suffix(".json").read_bytes())
    assert built.fresh
    assert built.sidecar == sidecar
    assert sidecar.plan_sha256 == sha256_bytes(built.path.read_bytes())
    assert machine.trt.__version__.startswith(sidecar.tensorrt)
    assert built.path.name == f"{sidecar.tensorrt}-sm87-int8.engine"
    assert (sidecar.device.gpu, sidecar.device.sm_count) == ("Orin (nvgpu)", 8)
    assert (sidecar.onnx.ir, sidecar.onnx.opset) == (9, 19)
    assert sidecar.quantization == {"int8_convolutions": 3}
    assert sidecar.inspection is not None
    assert sidecar.inspection.model_dump() == {
        "layers": 2, "int8_layers": 2, "convolutions": 1, "int8_convolutions": 1, "reformats": 1,
    }  # fmt: skip
    assert sidecar.answer.frames == 3
    assert sidecar.answer.mean_abs < 1e-6
    assert sidecar.warnings == ["a warning of the builder"]
    assert [(port.name, port.mode, port.dtype) for port in sidecar.ports] == [
        ("image", "INPUT", "FLOAT"),
        ("probability", "OUTPUT", "FLOAT"),
    ]


def test_the_builder_is_asked_for_what_the_plan_says(machine: Machine, build: Any) -> None:
    """Workspace, level and verbosity reach the configuration; TF32 stays on in INT8."""
    build(level=5, workspace_mib=200)
    config = machine.world.config
    assert config.builder_optimization_level == 5
    assert config._fake_pools == {"WORKSPACE": 200 << 20}
    assert "TF32" in config._fake_flags


def test_fp32_keeps_all_digits_and_is_judged_by_openvino(machine: Machine, build: Any) -> None:
    """The float reference is built without TF32; its answers are computed from the ONNX."""
    pytest.importorskip("openvino")
    built = build(precision="fp32")
    assert machine.world.config._fake_flags == set()
    assert built.sidecar.onnx.file == "model.fp32.onnx"
    assert built.sidecar.flags.tf32 is False
    assert built.sidecar.answer.mean_abs < 1e-6


@pytest.mark.usefixtures("machine")
def test_progress_is_passed_on(build: Any) -> None:
    """The phases of TensorRT arrive in order, with their parents."""
    phases = Phases()
    build(phases)
    assert phases.told[:3] == [
        ("start", "Building", None, 2),
        ("start", "Tactics", "Building", 3),
        ("step", "Tactics", 0),
    ]
    assert phases.told[-1] == ("finish", "Building")


@pytest.mark.usefixtures("machine")
def test_a_valid_engine_is_kept(build: Any) -> None:
    """A second build finds the first; --force and other settings build again."""
    assert build().fresh
    assert not build().fresh
    assert not build(level=3).fresh
    assert build(level=4).fresh
    assert "level 3, not 4" in build.said[-2]
    assert build(force=True).fresh


@pytest.mark.usefixtures("machine")
def test_the_wish_for_a_graph_needs_no_new_build(build: Any) -> None:
    """--cuda-graph on a valid engine changes the sidecar alone."""
    build()
    again = build(cuda_graph=True)
    assert not again.fresh
    stored = Sidecar.model_validate_json(again.path.with_suffix(".json").read_bytes())
    assert stored.cuda_graph


@pytest.mark.usefixtures("jetson")
def test_a_damaged_engine_is_built_again_and_the_reason_said(build: Any) -> None:
    """The cache mends itself at build time, and says why."""
    path = build().path
    path.write_bytes(path.read_bytes()[:-1])
    assert build().fresh
    assert "it is another file" in build.said[-2]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("Builder", "makes no Builder"),
        ("OnnxParser", "makes no OnnxParser"),
        (
            "OnnxParser.parse",
            r"node 0: no importer for this, 0; node 1 /head/Conv \(Conv\): no importer for this, 1",
        ),
        (
            "Builder.build_serialized_network",
            r"Could not find any implementation for node \| Error Code 2: out of memory",
        ),
        ("Runtime", "Expected TensorRT to start"),
        ("Runtime.deserialize_cuda_engine", "incompatible device"),
        ("ICudaEngine.create_execution_context", "short of memory"),
        ("IExecutionContext.set_tensor_address", "take the address"),
        ("IExecutionContext.execute_async_v3", "Expected TensorRT to run the engine"),
    ],
)
def test_every_failure_is_a_sentence_and_leaves_nothing(
    machine: Machine, build: Any, failing: str, said: str
) -> None:
    """What TensorRT refuses, by None, False or TypeError, ends with exit code 3 and no file."""
    machine.world.failing = {failing}
    with pytest.raises(EnvironmentMismatchError, match=said):
        build()
    assert files_of(machine) == []
    assert machine.runtime.live == {}  # memory, streams and graphs are given back


def test_an_address_that_is_not_aligned_is_refused(jetson: Machine, build: Any) -> None:
    """Buffers must lie on 256 bytes, as setTensorAddress asks."""
    jetson.gpu.alignment = 64
    with pytest.raises(EnvironmentMismatchError, match="a multiple of 256"):
        build()


def test_wrong_answers_are_never_written(machine: Machine, build: Any) -> None:
    """An engine that computes something else fails the golden frames: exit code 3, no file."""
    machine.world.network = lambda image: 0 * image + 0.7
    with pytest.raises(SelfTestError, match="golden frames"):
        build()
    assert files_of(machine) == []


def test_wrong_probability_behind_a_right_mask_is_found(jetson: Machine, build: Any) -> None:
    """The mask alone would not show it: every pixel stays on its side of the threshold."""

    def sharper(image: np.ndarray) -> np.ndarray:
        return (image >= 0).astype(np.float32)

    jetson.world.network = sharper
    with pytest.raises(SelfTestError, match=r"and 0\.00%: it"):
        build()


def test_no_number_is_a_wrong_answer(jetson: Machine, build: Any) -> None:
    """NaN does not slip through the comparison."""
    jetson.world.network = lambda image: image * float("nan")
    with pytest.raises(SelfTestError, match="golden frames"):
        build()


def test_other_inputs_are_refused(machine: Machine, build: Any) -> None:
    """An engine with half inputs is not one of ours."""
    machine.world.dtype = "HALF"
    with pytest.raises(EnvironmentMismatchError, match="INPUT image HALF"):
        build()


def test_timings_are_kept_for_the_next_build(machine: Machine, build: Any) -> None:
    """The second build of this TensorRT and GPU starts from the timings of the first."""
    built = build()
    (cache,) = machine.cache.glob("timing-*.cache")
    assert cache.read_bytes() == b"timed"
    assert built.sidecar.timing_cache_sha256 == sha256_bytes(b"timed")
    build(force=True)
    assert cache.read_bytes() == b"timedtimed"


@pytest.mark.parametrize("how", ["set_timing_cache", "create_timing_cache"])
def test_refused_timings_are_a_note(machine: Machine, build: Any, how: str) -> None:
    """A timing cache of another device is not forced upon TensorRT; the user hears of it."""
    build()
    machine.world.failing = {f"IBuilderConfig.{how}"}
    built = build(force=True)
    assert any("timing cache" in note for note in built.notes)
    if how == "create_timing_cache":
        assert built.sidecar.timing_cache_sha256 is None


def test_an_interrupt_ends_the_build(machine: Machine, build: Any) -> None:
    """Ctrl-C inside a callback does not pass through TensorRT, and leaves nothing."""

    class Interrupted(Phases):
        def step(self, *told: Any) -> None:
            self.told.append(told)
            raise KeyboardInterrupt

    phases = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        build(phases)
    assert phases.told.count(("Tactics", 0)) == 1
    assert ("Tactics", 1) not in phases.told  # TensorRT was told to stop
    assert files_of(machine) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.usefixtures("jetson")
def test_a_killed_build_leaves_the_old_engine(build: Any) -> None:
    """SIGKILL in the middle of a rebuild: the engine that was there is still valid."""
    build()

    class Killed(Phases):
        def step(self, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        build(Killed(), force=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert not build().fresh


def test_a_plan_without_its_sidecar_is_no_engine(
    jetson: Machine, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the two files, the next build starts again."""
    from edge_bts.tensorrt import cache

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            build()
    assert files_of(jetson) == ["10.3.0-sm87-int8.engine"]
    assert build().fresh


@pytest.mark.usefixtures("jetson")
def test_a_cache_that_cannot_be_written_is_one_sentence(build: Any, tmp_path: Path) -> None:
    """A file where the folder should be: nothing is half-written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeBtsError, match="Could not write"):
        build(cache=tmp_path / "file")


def test_workspace_follows_free_memory(
    jetson: Machine, bundle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of what is free where CPU and GPU share, half on a card; both capped."""
    available = 0
    monkeypatch.setattr("psutil.virtual_memory", lambda: types.SimpleNamespace(available=available))

    def workspace(**gpu: int) -> int:
        for name, value in gpu.items():
            setattr(jetson.gpu, name, value)
        return prepare(BuildRequest(bundle=bundle)).workspace_mib

    assert workspace(free=2 << 30, integrated=1) == 512
    assert workspace(free=7 << 30, integrated=1) == 1024
    available = 3 << 30  # with what the kernel would give back
    assert workspace(free=1 << 30, integrated=1) == 768
    assert workspace(free=2 << 30, integrated=0) == 1024
    assert workspace(free=20 << 30, integrated=0) == 4096


def test_the_plan_says_what_and_why(machine: Machine, bundle: Any) -> None:
    """The dry run names engine, GPU, memory and the reason of the workspace; nothing is written."""
    text = str(prepare(BuildRequest(bundle=bundle, cuda_graph=True)))
    assert "Orin (nvgpu) (compute capability 8.7, 8 SMs" in text
    assert "workspace: 1024 MiB, a quarter of what is free, at most 1024 MiB" in text
    assert "as a CUDA graph" in text
    assert "-sm87-int8.engine" in text
    assert not machine.cache.exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"level": 6}, InputError, "--level 0 to 5"),
        ({"workspace_mib": 0}, InputError, "at least 1"),
        ({"precision": "fp16"}, InputError, "fp16"),
        ({"workspace_mib": 1 << 30}, EnvironmentMismatchError, "free memory"),
    ],
)
@pytest.mark.usefixtures("jetson")
def test_what_cannot_be_is_refused_before_the_build(
    build: Any, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Options are checked against the bundle and the device first."""
    with pytest.raises(error, match=said):
        build(**options)


def test_tensorrt_8_is_refused(jetson: Machine, build: Any) -> None:
    """JetPack 5 is named, with what to do instead."""
    jetson.trt.__version__ = "8.5.2.2"
    with pytest.raises(EnvironmentMismatchError, match=r"JetPack 5 .* not supported"):
        build()
