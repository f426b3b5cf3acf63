from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts import __version__
from edge_bts.benchmarks import interleave
from edge_bts.benchmarks.bench import bench
from edge_bts.benchmarks.interleave import FRAMES, WorkerError, measure
from edge_bts.benchmarks.protocol import row_reasons, run_reasons
from edge_bts.benchmarks.result import BenchResult, load_result, write_result
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.benchmarks.worker import Source
from edge_bts.bundle import open_bundle_folder, write_bundle
from edge_bts.errors import IntegrityError
from edge_bts.signing import Trust, find_trust

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIDE = 32
UNSIGNED = Trust(allow_unsigned=True)
SHORT = {"seconds": 0.05, "frames": 6, "warmup_seconds": 0.0, "height": 64, "width": 80}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest student, float, as a bundle; its manifest says how it is built."""
    from edge_bts.models import SimplifiedUNet

    folder = tmp_path_factory.mktemp("bench")
    torch.onnx.export(
        torch.nn.Sequential(SimplifiedUNet(16), torch.nn.Sigmoid()).eval(),
        (torch.zeros(1, 1, SIDE, SIDE),),
        folder / "model.fp32.onnx",
        dynamo=False,
        input_names=["image"],
        output_names=["probability"],
    )
    path = folder / "nano.ebts"
    fields: dict[str, Any] = {
        "name": "nano",
        "precision": "fp32",
        "geometry": {"imgsz": SIDE},
        "normalisation": {"mean": 0.5, "std": 0.25},
        "threshold": 0.5,
        "models": {"reference": "model.fp32.onnx"},
        "provenance": {"model": "simplified_unet(base=16, stem=space_to_depth)"},
    }
    write_bundle(path, fields, {"model.fp32.onnx": folder / "model.fp32.onnx"})
    return path


@pytest.fixture(scope="module")
def result(bundle: Path) -> BenchResult:
    """A run with a tiny teacher, named twice, and one that does not exist in INT8."""
    teachers = ("attention_unet:width=8", "attention_unet:width=8")
    return bench(bundle, trust=UNSIGNED, teachers=teachers, settings=BenchSettings(**SHORT))


def test_rows_of_teacher_and_student(result: BenchResult) -> None:
    """Every network runs in every backend that has it; what does not run says why."""
    assert [row.label for row in result.rows] == [
        *(f"teacher 1, {kind} fp32" for kind in ("torch", "onnxruntime", "openvino")),
        *(f"student, {kind} fp32" for kind in ("torch", "onnxruntime", "openvino")),
    ]
    skipped = {row.label: row.reason for row in result.skipped}
    assert "the same network as teacher 1" in skipped["teacher 2"]
    assert "--int8" in skipped["teacher 1, int8"]
    assert result.reference == "student, openvino fp32"


def test_rows_are_measured(result: BenchResult) -> None:
    """Counts, sizes and times are those of the network, and the frame includes the engine."""
    from edge_bts.models import AttentionUNet, SimplifiedUNet

    for row in result.rows:
        module = AttentionUNet(8) if row.role == "teacher" else SimplifiedUNet(16)
        assert row.complexity is not None
        assert row.complexity.parameters == sum(p.numel() for p in module.parameters())
        assert row.file_bytes > 3 * row.complexity.parameters
        assert 0 < row.idle_rss_bytes <= row.peak_rss_bytes < 4e9
        assert row.engine.frames == row.frame.frames >= 3
        assert 0 < row.engine.p50 < row.frame.p50
        assert row.fps == pytest.approx(1e3 / row.frame.mean)
        assert len(row.rounds_engine_p50_ms) == len(result.rows[0].rounds_engine_p50_ms) >= 3
        assert row.trained == (row.role == "student" and row.backend != "torch")
    reference = next(row for row in result.rows if row.label == result.reference)
    assert reference.engine_ratio is not None
    assert reference.engine_ratio.median == 1.0


def test_nobody_vouches_for_an_unsigned_bundle(bundle: Path, result: BenchResult) -> None:
    """Without a word it is not measured; with it, the result says so."""
    with pytest.raises(IntegrityError, match="no signature"):
        bench(bundle, trust=Trust(), settings=BenchSettings(**SHORT))
    assert "no signature" in result.bundle_doubt


def test_short_runs_are_invalid(result: BenchResult) -> None:
    """The verdict says for each row how much is missing for a figure to publish."""
    assert result.verdict == "INVALID"
    assert any("where 1000 frames or 60 s are asked" in reason for reason in result.reasons)


def test_result_survives_json(result: BenchResult, tmp_path: Path) -> None:
    """What is written is what is read."""
    write_result(tmp_path / "result.json", result)
    assert load_result(tmp_path / "result.json") == result


def test_table_and_plot(result: BenchResult, tmp_path: Path) -> None:
    """The table names rows, skipped rows and the verdict; the plot is a picture."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    from rich.console import Console

    from edge_bts.benchmarks.report import plot_result, print_result

    console = Console(width=160, record=True, file=(tmp_path / "log").open("w"))
    print_result(result, console)
    text = console.export_text()
    for words in (
        "has no signature",
        "teacher 1, torch fp32*",
        "skipped teacher 2",
        "INVALID",
        "untrained weights",
    ):
        assert words in text
    plot_result(result, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")).shape[1] > 800


def test_valid_takes_the_whole_protocol() -> None:
    """A thousand steady frames on a quiet machine have nothing against them."""
    assert row_reasons([5.0] * 1000, True, BenchSettings()) == []
    assert row_reasons([1500.0] * 40, True, BenchSettings()) == []
    assert row_reasons([5.0] * 1000, False, BenchSettings()) == ["not steady after warm-up"]
    assert run_reasons([], 0.05, BenchSettings()) == []
    assert "other processes used 30%" in run_reasons([], 0.3, BenchSettings())[0]


def test_a_row_that_fails_does_not_cost_the_others(bundle: Path, tmp_path: Path) -> None:
    """A worker that refuses, and one that dies, leave a reason; the rest is measured."""
    frames = tmp_path / "frames.npy"
    np.save(frames, np.zeros((2, 40, 40), np.uint8))
    onnx = {"backend": "onnxruntime", "precision": "fp32", "threads": 1, "imgsz": SIDE}
    sources = {
        "good": Source(**onnx, file=str(bundle / "model.fp32.onnx")),
        "absent": Source(**onnx, file=str(tmp_path / "absent.onnx")),
        "crash": Source(**(onnx | {"backend": "torch"}), file=str(bundle / "model.fp32.onnx")),
    }
    said: list[str] = []
    opens = {
        label: {"source": source.model_dump(), "frames": str(frames)}
        for label, source in sources.items()
    }
    measured, failed, foreign = measure(
        FRAMES, opens, BenchSettings(**SHORT), lambda text, _share: said.append(text)
    )
    assert list(measured) == ["good"]
    assert len(measured["good"].all("frame")) >= 3
    assert "No such file" in failed["absent"]
    assert "Expected a torch module" in failed["crash"]
    assert 0 <= foreign <= 1.5
    assert "load good" in said


def test_a_worker_that_dies_says_its_last_line() -> None:
    """The end of its log is the reason, not a broken pipe."""
    with interleave._worker("row", 1, FRAMES) as worker:
        with pytest.raises(WorkerError, match="code 1: KeyError"):
            worker.ask("dance")
        with pytest.raises(WorkerError, match="ended with code 1"):
            worker.ask("close")


def test_one_worker_computes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking while another computes is a defect, not a measurement."""
    with interleave._worker("row", 1, FRAMES) as worker:
        monkeypatch.setattr(interleave._Worker, "computing", "another")
        with pytest.raises(AssertionError, match="another computes while row is due"):
            worker.ask("close")


def test_memory_is_that_of_the_fresh_process() -> None:
    """A large parent does not show in the peak of a worker."""
    ballast = bytearray(b"x") * (600 << 20)
    command = [sys.executable, "-m", "edge_bts.benchmarks.worker"]
    answer = subprocess.run(
        command, input='{"op": "close"}\n', capture_output=True, text=True, check=True
    )
    del ballast
    assert json.loads(answer.stdout)["ok"]["peak_rss_bytes"] < 300 << 20


def bench_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process, on bundles that nobody signed."""
    command = [sys.executable, "-m", "edge_bts.cli", "bench", "--allow-unsigned"]
    command += map(str, arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_command_writes_what_it_prints(bundle: Path, tmp_path: Path) -> None:
    """A quick look ends with 0, an INVALID measurement with 6; settings come from --set too."""
    output = tmp_path / "result.json"
    small = ("--set", "bench.height=64", "--set", "bench.width=80")
    done = bench_command(
        bundle, "--quick", "--json", "-o", output, *small, "--set", "bench.lead_in_ms=0"
    )
    assert done.returncode == 0, done.stderr
    assert BenchResult.model_validate_json(done.stdout) == load_result(output)
    found = load_result(output)
    assert found.verdict == "QUICK"
    assert found.settings.width == 80
    again = bench_command(bundle, "--quick", "-o", output)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--teacher", "attention_unet:width=nine"], "refused its options"),
        (["--teacher", "attention_unet:width"], "Expected a teacher"),
        (["--teacher", "vgg:width=9"], "Expected a model among"),
        (["--teacher", "absent.safetensors"], "no such file"),
        (["--quick", "--frames", "9"], "both"),
        (["--threads", "0"], "threads"),
        (["--set", "bench.speed=9"], "speed"),
        (["--plot", "plot.gif"], "--plot FILE.png"),
        (["-o", "same.png", "--plot", "same.png"], "two files"),
    ],
)
def test_bad_options_are_named(
    bundle: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Exit code 2 and one sentence, before anything is measured."""
    from edge_bts.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["edge-bts", "bench", "--allow-unsigned", str(bundle), *arguments]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert (stopped.value.code, "Traceback" in said) == (2, False)
    assert sentence in said
    assert not any(tmp_path.iterdir())


def test_without_torch_its_rows_are_skipped(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device without PyTorch the bundle is still measured, with its cost counted."""
    from edge_bts.benchmarks import networks, rows

    for module in (rows, networks):
        monkeypatch.setattr(module, "is_here", lambda package: package != "torch")
    plan = rows.plan_rows(
        open_bundle_folder(bundle, UNSIGNED),
        ["attention_unet:width=8"],
        None,
        tmp_path,
        BenchSettings(),
        UNSIGNED,
    )
    assert [row.label for row in plan.planned] == [
        *("student, onnxruntime fp32", "student, openvino fp32"),
    ]
    reasons = {row.label: row.reason for row in plan.skipped}
    assert "no OpenVINO IR" in reasons.pop("student, native fp32")
    assert set(reasons) == {"teacher", "student, torch fp32"}
    assert all("torch is not installed" in reason for reason in reasons.values())
    assert all(row.complexity is not None for row in plan.planned)


def test_a_teacher_may_be_a_bundle(bundle: Path, tmp_path: Path) -> None:
    """An exported teacher is measured like the student, in its own rows."""
    from edge_bts.benchmarks import rows

    plan = rows.plan_rows(
        open_bundle_folder(bundle, UNSIGNED),
        [str(bundle)],
        None,
        tmp_path,
        BenchSettings(),
        UNSIGNED,
    )
    assert [(row.role, row.source.backend) for row in plan.planned] == [
        *(("teacher", kind) for kind in ("torch", "onnxruntime", "openvino")),
        *(("student", kind) for kind in ("torch", "onnxruntime", "openvino")),
    ]


def test_the_cpp_library_is_a_row() -> None:
    """A bundle with an IR is timed in libedge_bts too, with the stages that it measures itself."""
    pytest.importorskip("edge_bts._runtime", exc_type=ImportError)
    models = Path(__file__).parents[2] / "models"
    trust = find_trust([models / "release.pub"])
    found = bench(models / "busi-nano.ebts", trust=trust, settings=BenchSettings(**SHORT))
    rows = {row.label: row for row in found.rows}
    row, same = rows["student, native int8"], rows["student, openvino int8"]
    assert row.backend == "native"
    assert row.backend_version.startswith(f"{__version__} (openvino ")
    assert row.file_bytes == same.file_bytes
    assert row.complexity == same.complexity
    assert 0 < row.stages_p50_ms["preprocess"] < row.frame.p50
    assert 0 < row.engine.p50 < row.frame.p50
    assert row.details["self_tested"] is True
    assert found.reference == "student, openvino int8"
