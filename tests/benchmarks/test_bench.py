from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts import __version__
from edge_bts.benchmarks import interleave
from edge_bts.benchmarks.bench import bench
from edge_bts.benchmarks.device import Sampler
from edge_bts.benchmarks.interleave import FRAMES, WorkerError, measure
from edge_bts.benchmarks.protocol import row_reasons, run_reasons
from edge_bts.benchmarks.result import BenchResult, load_result, write_result
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.benchmarks.worker import Source
from edge_bts.bundle import open_bundle_folder, write_bundle
from edge_bts.errors import InputError, IntegrityError
from edge_bts.signing import Trust, find_trust

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIDE = 32
UNSIGNED = Trust(allow_unsigned=True)
SHORT: dict[str, Any] = {
    **{"seconds": 0.05, "frames": 6, "warmup_seconds": 0.0, "height": 64, "width": 80},
    **{"roofline": False, "layers": False},
}


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
    return bench([bundle], trust=UNSIGNED, teachers=teachers, settings=BenchSettings(**SHORT))


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
        cost = result.networks[row.network]
        assert cost.parameters == sum(p.numel() for p in module.parameters())
        assert cost.macs == sum(layer.macs for layer in cost.layers)
        assert cost.activation_bytes is not None
        assert row.file_bytes > 3 * cost.parameters
        assert 0 < row.idle_rss_bytes <= row.peak_rss_bytes < 4e9
        assert row.engine.frames == row.frame.frames >= 3
        assert 0 < row.engine.p50 < row.frame.p50
        assert row.fps == pytest.approx(1e3 / row.frame.mean)
        assert row.cold_start_ms > row.load_ms + row.first_ms > 0
        assert len(row.rounds_engine_p50_ms) == len(result.rows[0].rounds_engine_p50_ms) >= 3
        assert row.trained == (row.role == "student" and row.backend != "torch")
    reference = next(row for row in result.rows if row.label == result.reference)
    assert reference.engine_ratio is not None
    assert reference.engine_ratio.median == 1.0


def test_nobody_vouches_for_an_unsigned_bundle(bundle: Path, result: BenchResult) -> None:
    """Without a word it is not measured; with it, the result says so."""
    with pytest.raises(IntegrityError, match="no signature"):
        bench([bundle], trust=Trust(), settings=BenchSettings(**SHORT))
    assert "no signature" in result.subjects[0].doubt


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
    outcome = measure(
        FRAMES,
        opens,
        BenchSettings(**SHORT),
        lambda text, _share: said.append(text),
        Sampler(tmp_path),
    )
    assert list(outcome.measured) == ["good"]
    assert len(outcome.measured["good"].all("frame")) >= 3
    assert "No such file" in outcome.failed["absent"]
    assert "Expected a torch module" in outcome.failed["crash"]
    assert outcome.codes == {2}
    assert 0 <= outcome.foreign <= 1.5
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
    small = ("--set", "bench.height=64", "--set", "bench.width=80", "--set", "bench.roofline=false")
    done = bench_command(
        bundle, "--quick", "--json", "-o", output, *small, "--set", "bench.lead_in_ms=0"
    )
    assert done.returncode == 0, done.stderr
    assert BenchResult.model_validate_json(done.stdout) == load_result(output)
    found = load_result(output)
    assert found.verdict == "QUICK"
    assert found.settings.width == 80
    assert found.command[:2] == ["edge-bts", "bench"]
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
        (["--html", "page", "--markdown", "page"], "two files"),
        (["--eval", "absent.json"], "reading it failed"),
        (["--fps", "0"], "fps"),
        (["other.onnx"], "there is none"),
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
        monkeypatch.setattr(module, "is_here", lambda package: package not in ("torch", "tensorrt"))
    plan = rows.plan_rows(
        [open_bundle_folder(bundle, UNSIGNED)],
        [],
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
        [open_bundle_folder(bundle, UNSIGNED)],
        [],
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
    found = bench([models / "busi-nano.ebts"], trust=trust, settings=BenchSettings(**SHORT))
    rows = {row.label: row for row in found.rows}
    row, same = rows["student, native int8"], rows["student, openvino int8"]
    assert row.backend == "native"
    assert row.backend_version.startswith(f"{__version__} (openvino ")
    assert row.file_bytes == same.file_bytes
    assert 0 < row.stages["preprocess"].p50 < row.frame.p50
    assert 0 < row.engine.p50 < row.frame.p50
    assert row.details["self_tested"] is True
    assert found.reference == "student, openvino int8"


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    """Run the command line in this process; return its exit code."""
    from edge_bts.cli import main

    monkeypatch.setattr(sys, "argv", ["edge-bts", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


SMALL = [
    *("--allow-unsigned", "--quick", "--set", "bench.height=64", "--set", "bench.width=80"),
    *("--set", "bench.roofline=false", "--set", "bench.layers=false"),
]


def test_ctrl_c_keeps_the_rows_so_far(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 130; table, JSON and page hold what was measured and say that it was cut short."""
    from edge_bts.cli import _bench

    turns = 0

    def show(_self: object, text: str, share: float) -> None:
        nonlocal turns
        turns += text == "student, openvino fp32" and share > 0
        if turns == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_bench._Status, "show", show)
    output, page = tmp_path / "result.json", tmp_path / "page.html"
    assert run_main(monkeypatch, bundle, *SMALL, "-o", output, "--html", page) == 130
    said = capsys.readouterr()
    assert "student, openvino fp32" in said.out
    assert "Interrupted; what was finished is kept." in said.err
    found = load_result(output)
    assert found.interrupted
    assert len(found.rows) == 3
    assert found.reasons[0].startswith("interrupted after 2 of")
    assert "interrupted after" in page.read_text() or found.verdict == "QUICK"


def test_ctrl_c_before_the_first_row_leaves_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While networks are loaded there is nothing to keep: exit code 130 and no file."""
    from edge_bts.cli import _bench

    def show(_self: object, text: str, _share: float) -> None:
        if text.startswith("load"):
            raise KeyboardInterrupt

    monkeypatch.setattr(_bench._Status, "show", show)
    assert run_main(monkeypatch, bundle, *SMALL, "-o", tmp_path / "result.json") == 130
    assert not any(tmp_path.iterdir())


def test_a_full_disk_costs_the_file_and_not_the_figures(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The table is printed before the file is refused, in one sentence, with exit code 1."""
    import errno

    from edge_bts import files

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    from edge_bts.benchmarks import report

    inner = report.print_result

    def print_then_fill(*arguments: Any) -> None:
        inner(*arguments)
        monkeypatch.setattr(files.os, "fsync", full)

    monkeypatch.setattr(report, "print_result", print_then_fill)
    assert run_main(monkeypatch, bundle, *SMALL, "-o", tmp_path / "result.json") == 1
    said = capsys.readouterr()
    assert "student, openvino fp32" in said.out
    assert said.err.startswith("edge-bts: Could not write")
    assert "Traceback" not in said.err
    assert not any(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_start_is_one_sentence(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The frames that are to be measured cannot be written: exit code 1."""
    import errno

    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    assert run_main(monkeypatch, bundle, *SMALL) == 1
    assert "Could not write the files to measure" in capsys.readouterr().err


def test_dice_stands_beside_the_rows_that_it_is_of(tmp_path: Path) -> None:
    """A report counts for its own bundle in its own precision, or for whom one names."""
    from edge_bts.benchmarks.accuracy import read_dice
    from edge_bts.benchmarks.rows import PlannedRow

    published = Path(__file__).parents[2] / "benchmarks/results/busi-nano.eval-int8.json"

    def planned(who: str, precision: str, name: str) -> PlannedRow:
        source = Source(backend="openvino", precision=precision, threads=1, bundle=name)
        return PlannedRow(who, f"{who}, x", "student", "net", True, source, None, 1)

    find = read_dice([str(published)])
    dice = find(planned("student", "int8", "models/busi-nano.ebts"))
    assert dice is not None
    assert (round(dice.value, 3), dice.images, dice.dataset) == (0.749, 129, "BUSI")
    assert find(planned("student", "fp32", "models/busi-nano.ebts")) is None
    assert find(planned("student", "int8", "models/busi-default.ebts")) is None
    assert read_dice([f"peer={published}"])(planned("peer", "int8", "x.onnx")) == dice
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="report of `edge-bts eval`"):
        read_dice([str(tmp_path / "other.json")])


def test_bundles_and_peers_in_one_run(bundle: Path, tmp_path: Path) -> None:
    """Two bundles go by their names, and the first one's deployed row is what ratios refer to."""
    other = tmp_path / "other.ebts"
    shutil.copytree(bundle, other)
    peer = tmp_path / "peer.onnx"
    shutil.copy(bundle / "model.fp32.onnx", peer)
    result = bench([bundle, other, peer], trust=UNSIGNED, settings=BenchSettings(**SHORT))
    assert {row.who for row in result.rows} == {"nano", "other", "peer"}
    assert result.reference == "nano, openvino fp32"
    assert [subject.name for subject in result.subjects] == ["nano.ebts", "other.ebts", "peer.onnx"]
    cost = result.networks["peer.onnx"]
    assert cost.macs == next(c.macs for n, c in result.networks.items() if n != "peer.onnx")


def test_compiled_torch_is_a_row_of_its_own(bundle: Path, tmp_path: Path) -> None:
    """With the setting, torch.compile stands beside the eager module, as another way to run it."""
    from edge_bts.benchmarks import rows

    plan = rows.plan_rows(
        [open_bundle_folder(bundle, UNSIGNED)],
        [],
        [],
        None,
        tmp_path,
        BenchSettings(compiled=True),
        UNSIGNED,
    )
    found = {row.label: row.source.compiled for row in plan.planned}
    assert found["student, torch fp32"] is False
    assert found["student, torch.compile fp32"] is True
