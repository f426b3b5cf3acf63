"""`--backend tensorrt`: engines of the cache, checked and run on the fake of each version."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_device import SIDE, Machine, sigmoid

from edge_bts.bundle import Bundle
from edge_bts.errors import EnvironmentMismatchError, InputError, IntegrityError, SelfTestError
from edge_bts.runtime import Backend, open_backend, open_network
from edge_bts.runtime._tensorrt import EngineSource


@pytest.fixture
def image() -> np.ndarray:
    """A normalised image."""
    return np.random.default_rng(1).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)


def open_engine(bundle: Bundle) -> Any:
    """Open it as the command line does."""
    return open_backend("tensorrt", EngineSource(bundle), precision="int8")


@pytest.mark.parametrize("graph", [False, True])
def test_an_engine_runs(
    machine: Machine, bundle: Bundle, build: Any, image: np.ndarray, graph: bool
) -> None:
    """It computes what the network does, with and without CUDA graph, and keeps no old output."""
    build(cuda_graph=graph)
    backend = open_engine(bundle)
    assert isinstance(backend, Backend)
    first = backend.infer(image)
    kept = first.copy()
    assert first.shape == (1, 1, SIDE, SIDE)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, sigmoid(image), atol=1e-7)
    np.testing.assert_allclose(backend.infer(-image), sigmoid(-image), atol=1e-7)
    np.testing.assert_array_equal(first, kept)
    assert backend.describe()["cuda_graph"] is graph
    assert backend.describe()["layers"]["int8_layers"] == 2
    assert ("cudaGraphLaunch" in machine.runtime.calls) is graph
    backend.close()
    assert machine.runtime.live == {}


def test_a_graph_launches_and_enqueues_no_more(
    jetson: Machine, bundle: Bundle, build: Any, image: np.ndarray
) -> None:
    """With a graph an inference is a copy, one launch and a wait."""
    build(cuda_graph=True)
    backend = open_engine(bundle)
    jetson.world.calls.clear()
    jetson.runtime.calls.clear()
    backend.infer(image)
    assert jetson.world.calls == []
    assert jetson.runtime.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"]


@pytest.mark.parametrize(
    "failing",
    ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "capture"],
)
def test_without_a_graph_the_user_is_told(
    machine: Machine, bundle: Bundle, build: Any, image: np.ndarray, failing: str
) -> None:
    """Where the capture fails the engine is enqueued each time, and a note says so."""
    build(cuda_graph=True)
    (machine.world if failing == "capture" else machine.gpu).failing = {failing}
    segmenter = open_network(bundle, backend="tensorrt")
    assert any("no CUDA graph" in note for note in segmenter.notes)
    np.testing.assert_allclose(segmenter.backend.infer(image), sigmoid(image), atol=1e-7)
    assert segmenter.backend.describe()["cuda_graph"] is False


@pytest.mark.usefixtures("machine")
def test_the_segmenter_takes_frames(bundle: Bundle, build: Any) -> None:
    """open_bundle with backend tensorrt segments like any other backend."""
    build()
    segmenter = open_network(bundle, backend="tensorrt")
    frame = np.full((40, 50), 255, np.uint8)
    assert segmenter.segment(frame).mask.sum() == 40 * 50
    assert segmenter.describe()["backend"] == "tensorrt"
    assert segmenter.describe()["backend_version"] == segmenter.backend.version


@pytest.mark.usefixtures("machine")
def test_verify_compares_the_engine_too(bundle: Bundle, build: Any) -> None:
    """An engine that is in the cache is a form like the others; without it the mend is named."""
    from edge_bts.export.verify import verify

    report, _ = verify(bundle, threads=1, locate=False)
    assert [s.name for s in report.skipped] == ["tensorrt int8"]
    assert "edge-bts build" in report.skipped[0].reason
    build()
    report, _ = verify(bundle, threads=1, locate=False)
    row = report.parity.rows[-1]
    assert (row.name, row.against) == ("tensorrt int8", "torch int8, stored at export")
    assert row.max_abs < 1e-6
    assert report.failures == []


def test_nothing_is_built_at_run_time(machine: Machine, bundle: Bundle) -> None:
    """Without an engine there is one sentence with the command, and no builder was made."""
    with pytest.raises(EnvironmentMismatchError, match=r"run `edge-bts build .* --int8` here"):
        open_engine(bundle)
    assert not [call for call in machine.world.calls if call.startswith("Builder")]


def test_a_damaged_engine_never_reaches_tensorrt(
    machine: Machine, bundle: Bundle, build: Any
) -> None:
    """A plan is native code: what is not the file that was built is not deserialised."""
    path = build().path
    path.write_bytes(path.read_bytes() + b"x")
    machine.world.calls.clear()
    with pytest.raises(IntegrityError):
        open_engine(bundle)
    assert machine.world.calls == []


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("Runtime", "Expected TensorRT to start"),
        ("Runtime.deserialize_cuda_engine", "take the engine, but it refused"),
        ("ICudaEngine.create_execution_context", "execution context"),
        ("IExecutionContext.set_tensor_address", "take the address"),
        ("IExecutionContext.execute_async_v3", "run the engine"),
    ],
)
def test_what_tensorrt_refuses_is_a_sentence(
    machine: Machine, bundle: Bundle, build: Any, failing: str, said: str
) -> None:
    """None and False become errors with exit code 3; the GPU's memory is given back."""
    build()
    machine.world.failing = {failing}
    with pytest.raises(EnvironmentMismatchError, match=said):
        open_engine(bundle)
    assert machine.runtime.live == {}


def test_wrong_answers_are_refused_at_load(machine: Machine, bundle: Bundle, build: Any) -> None:
    """An engine that changed its mind since it was built does not run."""
    build()
    machine.world.network = lambda image: 1 - sigmoid(image)
    with pytest.raises(SelfTestError, match="run `edge-bts build"):
        open_engine(bundle)
    assert machine.runtime.live == {}


def test_another_gpu_is_refused(machine: Machine, bundle: Bundle, build: Any) -> None:
    """The same compute capability with more SMs is another board."""
    build()
    machine.gpu.sm_count = 16
    with pytest.raises(EnvironmentMismatchError, match="SM count 8"):
        open_engine(bundle)


def test_another_version_finds_no_engine(jetson: Machine, bundle: Bundle, build: Any) -> None:
    """After an update of TensorRT the engine must be built again."""
    build()
    jetson.trt.__version__ = "10.7.0"
    with pytest.raises(EnvironmentMismatchError, match=r"TensorRT 10\.7\.0 and sm87"):
        open_engine(bundle)


def test_warnings_of_tensorrt_are_notes(jetson: Machine, bundle: Bundle, build: Any) -> None:
    """What TensorRT warns of when it takes an engine reaches the user."""
    build()
    jetson.world.warning = "Using an engine plan file across different models"
    notes = open_network(bundle, backend="tensorrt").notes
    assert notes == ["TensorRT: Using an engine plan file across different models"]


@pytest.mark.usefixtures("jetson")
def test_auto_is_never_tensorrt_and_says_that_an_engine_is_there(
    bundle: Bundle, build: Any, make_bundle: Callable[..., Bundle]
) -> None:
    """A cache folder does not change what a command runs."""
    pytest.importorskip("onnxruntime")
    plain = make_bundle("fp32", name="plain")
    assert open_network(plain, backend="auto", precision="fp32").notes == []
    build()
    # This bundle's own precision has no CPU model; its reference has.
    segmenter = open_network(bundle, backend="auto", precision="fp32")
    assert segmenter.backend.name in ("openvino", "onnxruntime")
    assert any("--backend tensorrt runs it" in note for note in segmenter.notes)


@pytest.mark.usefixtures("jetson")
def test_threads_and_other_sources_are_refused(bundle: Bundle) -> None:
    """Neither is ignored silently."""
    with pytest.raises(InputError, match="no number of threads"):
        open_backend("tensorrt", EngineSource(bundle), threads=2)
    with pytest.raises(InputError, match="got bytes"):
        open_backend("tensorrt", b"plan")
    with pytest.raises(InputError, match="fp16"):
        open_network(bundle, backend="tensorrt", precision="fp16")


@pytest.mark.usefixtures("jetson")
def test_other_images_are_refused(bundle: Bundle, build: Any, image: np.ndarray) -> None:
    """As by every backend."""
    build()
    with pytest.raises(InputError, match=r"float32 \(1, 1, 32, 32\)"):
        open_engine(bundle).infer(image[:, :, :16, :16])


@pytest.mark.usefixtures("jetson")
def test_a_bundle_without_golden_frames_is_refused(bundle: Bundle, build: Any) -> None:
    """An engine that cannot be checked is neither built nor run."""
    from edge_bts.bundle import write_bundle

    fields = json.loads((bundle.path / "manifest.json").read_text())
    fields.pop("files")
    files = {n: bundle.read(n) for n in bundle.manifest.files if n != "golden.safetensors"}
    bare = write_bundle(bundle.path.with_name("bare.ebts"), fields, files)
    with pytest.raises(InputError, match=r"golden\.safetensors"):
        build(bundle=bare)
