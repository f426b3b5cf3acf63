"""The whole export: what is in a bundle, and what happens on bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts import geometry
from edge_bts.bundle import open_bundle_folder
from edge_bts.errors import AccuracyGateError, InputError, IntegrityError
from edge_bts.export import pipeline
from edge_bts.export.settings import ExportSettings
from edge_bts.files import sha256_file
from edge_bts.golden import read_golden
from edge_bts.onnx_wire import check_graph
from edge_bts.runtime import open_backend, open_network
from edge_bts.signing import Trust, load_signing_key, new_key


def quick(workshop: Any, output: Path, precision: str = "fp32") -> pipeline.Request:
    """Ask for a bundle that needs no data."""
    settings = ExportSettings.model_validate(
        {"precision": precision, "golden_frames": 1, "gates": {"cine_loops": 0}}
    )
    return pipeline.Request(workshop.checkpoint, output, settings)


def silent(_: Any) -> None:
    """Take the progress and say nothing."""


def test_bundle_is_whole_and_says_what_it_is(bundle: Any, workshop: Any) -> None:
    """All files of design are there, hashed, and the manifest knows where it comes from."""
    bundle.verify()
    assert set(bundle.manifest.files) == {
        "model.onnx",
        "model.int8.onnx",
        "model.fp32.onnx",
        "model.openvino.xml",
        "model.openvino.bin",
        "golden.safetensors",
        "report.json",
        "sbom.cdx.json",
        "LICENSE",
        "MODEL_CARD.md",
    }
    manifest = bundle.manifest
    assert manifest.models == {
        "reference": "model.fp32.onnx",
        "onnxruntime": "model.int8.onnx",
        "tensorrt": "model.onnx",
        "openvino": "model.openvino.xml",
    }
    assert (manifest.name, manifest.precision, manifest.imgsz) == ("discs", "int8", 64)
    assert manifest.provenance.checkpoint_sha256 == sha256_file(workshop.checkpoint)
    assert manifest.provenance.settings["export"]["qat"]["epochs"] == 1
    assert b"Apache License" in bundle.read("LICENSE")
    card = bundle.read("MODEL_CARD.md").decode()
    assert "not a medical device" in card
    assert f"The licence of {manifest.provenance.dataset} is not known to this tool." in card
    assert manifest.provenance.origins == ()
    assert "| openvino int8 | torch int8 |" in card
    assert f"from a probability of {manifest.threshold:.2f}" in card
    assert f"below {manifest.presence_threshold:.3f} gets an empty mask" in card


def test_forms_agree_with_each_other(bundle: Any) -> None:
    """Masks of all INT8 forms agree to a mean Dice of 0.995, and find the discs."""
    parity = json.loads(bundle.read("report.json"))["parity"]
    rows = {row["name"]: row for row in parity["rows"]}
    for name in ("onnxruntime int8", "openvino int8", "onnx fp16-typed, plain"):
        assert rows[name]["dice"] > 0.995
        assert bundle.manifest.gates[f"agreement: {name}"].value == rows[name]["dice"]
    assert rows["torch int8"]["dice_truth"] > rows["torch float"]["dice_truth"] - 0.02
    assert rows["torch float"]["dice_truth"] > 0.8
    assert rows["onnxruntime fp32"]["max_abs"] < 1e-4


def test_report_keeps_what_was_done(bundle: Any, request_int8: Any) -> None:
    """Float, calibrated and tuned figures, quantizers, packages and settings are stored."""
    report = json.loads(bundle.read("report.json"))
    assert {"float", "calibrated", "tuned", "kept_epoch", "history"} <= report["validation"].keys()
    kept = report["validation"]
    assert kept["tuned"]["dice"] >= kept["calibrated"]["dice"]
    assert report["quantization"]["int8_convolutions"] == 47
    assert report["quantization"]["layers"]["head"] != "int8"
    assert len(report["calibration"]["images"]) == 6
    assert report["operating_points"]["tuned"]["threshold"] == bundle.manifest.threshold
    assert report["operating_points"]["tuned"]["dice"] > 0.8
    assert report["packages"]["nncf"].startswith("3.4")
    assert report["settings"] == request_int8.settings.model_dump(mode="json")


def test_golden_frames_pass_on_every_backend(bundle: Any) -> None:
    """Each backend reproduces the golden phantoms within the stored tolerance."""
    golden = read_golden(bundle.read("golden.safetensors"), 64)
    assert golden.frames.shape == (4, 64, 64)
    ir = (bundle.read("model.openvino.xml"), bundle.read("model.openvino.bin"))
    backends = [
        open_backend("openvino", ir, precision="int8", threads=1),
        open_backend("onnxruntime", bundle.read("model.int8.onnx"), threads=1),
    ]
    for index, frame in enumerate(golden.frames):
        image = geometry.normalise(frame, bundle.manifest.mean, bundle.manifest.std)[None, None]
        for backend in backends:
            came = backend.infer(image)[0, 0]
            difference = np.abs(came - golden.probability[index]).mean()
            assert difference <= golden.tolerance.mean_abs
            mask = geometry.threshold(came, golden.threshold)
            assert (mask != golden.mask[index]).mean() <= golden.tolerance.pixels


def test_every_form_opens_with_its_self_test(bundle: Any) -> None:
    """What was exported passes the loader's own checks; the float reference is said untested."""
    for backend in ("openvino", "onnxruntime"):
        (doubt,) = open_network(bundle, backend=backend, threads=1).notes
        assert "no signature" in doubt
        notes = open_network(bundle, backend=backend, precision="fp32", threads=1).notes
        assert "golden frames are for int8" in notes[1]
    for name in ("model.onnx", "model.int8.onnx", "model.fp32.onnx"):
        check_graph(bundle.read(name), name)


def test_sbom_is_cyclonedx_and_names_model_and_makers(bundle: Any) -> None:
    """The record is valid by the schema of 1.6, with the hashes of the files that stand there."""
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    text = bundle.read("sbom.cdx.json").decode()
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "discs")
    hashes = {part["name"]: part["hashes"][0]["content"] for part in model["components"]}
    listed = bundle.manifest.files
    assert hashes == {n: listed[n].sha256 for n in listed if n.startswith("model.")}
    (dataset,) = model["modelCard"]["modelParameters"]["datasets"]
    assert dataset["name"] == "discs"
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    report = json.loads(bundle.read("report.json"))
    assert metrics[0]["value"] == f"{report['validation']['float']['dice']:.4f}"
    tools = {part["name"]: part["version"] for part in bom["metadata"]["tools"]["components"]}
    assert tools == report["packages"]


def test_a_flipped_byte_is_found(bundle: Any, tmp_path: Path) -> None:
    """A model of which one bit is wrong is refused by name."""
    import shutil

    copied = Path(shutil.copytree(bundle.path, tmp_path / "copy.ebts"))
    path = copied / "model.openvino.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.openvino\.bin"):
        open_bundle_folder(copied, Trust(allow_unsigned=True)).verify()


def test_half_precision_needs_no_data(workshop: Any, tmp_path: Path) -> None:
    """--fp16 exports without data: FP16-typed ONNX, float reference and IR."""
    made = pipeline.export(quick(workshop, tmp_path / "a.ebts", "fp16"), silent)
    assert made.manifest.models["onnxruntime"] == made.manifest.models["tensorrt"] == "model.onnx"
    assert made.manifest.threshold == 0.5
    assert "latency" not in made.manifest.gates
    assert len(made.read("model.onnx")) < 0.6 * len(made.read("model.fp32.onnx"))


def test_the_same_checkpoint_gives_the_same_bundle(workshop: Any, tmp_path: Path) -> None:
    """Two exports of one checkpoint are equal to the byte, manifest and report included."""
    first, second = (
        pipeline.export(quick(workshop, tmp_path / f"{n}" / "a.ebts"), silent) for n in range(2)
    )
    assert first.manifest_sha256 == second.manifest_sha256
    assert first.manifest.models["onnxruntime"] == "model.fp32.onnx"


def test_a_key_signs_while_the_bundle_is_written(workshop: Any, tmp_path: Path) -> None:
    """The bundle opens for who knows the key; what is no key is said before anything slow."""
    private, public = new_key(tmp_path / "maker")
    request = quick(workshop, tmp_path / "a.ebts")
    with pytest.raises(InputError, match="private key"):
        pipeline.prepare(dataclasses.replace(request, sign=public))
    signed = dataclasses.replace(request, sign=private)
    key = load_signing_key(private)
    assert f"signed by {key.id}" in str(pipeline.prepare(signed))
    said: list[Any] = []
    made = pipeline.export(signed, said.append)
    assert f"signed by {key.id}" in said[-1]
    assert open_bundle_folder(made.path, Trust((key.public,))).maker.doubt == ""


@pytest.fixture(scope="module")
def converted(workshop: Any) -> Any:
    """The float models, for tests of what comes after the conversion."""
    from edge_bts.export.models import export_models

    return export_models(
        workshop.folded, workshop.folded, 64, ExportSettings.model_validate({"precision": "fp32"})
    )


def test_an_interrupt_leaves_nothing(
    workshop: Any, converted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the comparison, or while files are written, leaves an empty folder."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "export_models", lambda *_: converted)
    for target in ("edge_bts.export.pipeline.climb", "edge_bts.bundle.sha256_file"):
        with monkeypatch.context() as patch:
            patch.setattr(target, interrupt)
            with pytest.raises(KeyboardInterrupt):
                pipeline.export(quick(workshop, tmp_path / "a.ebts"), silent)
        assert list(tmp_path.iterdir()) == []


def test_disagreement_ends_the_export(
    workshop: Any, converted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that computes something else is a failed gate, exit code 4, and no bundle."""
    from edge_bts.export.parity import Rung

    real = pipeline.rungs

    def spoilt(*arguments: Any) -> list[Rung]:
        ladder = real(*arguments)
        last = ladder[-1]
        return [*ladder[:-1], dataclasses.replace(last, infer=lambda image: 1 - last.infer(image))]

    monkeypatch.setattr(pipeline, "export_models", lambda *_: converted)
    monkeypatch.setattr(pipeline, "rungs", spoilt)
    with pytest.raises(AccuracyGateError, match="openvino") as caught:
        pipeline.export(quick(workshop, tmp_path / "a.ebts"), silent)
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_said_before_anything_slow(workshop: Any, tmp_path: Path) -> None:
    """No data for INT8, a truncated checkpoint, a taken output: InputError with the remedy."""
    output = tmp_path / "a.ebts"
    with pytest.raises(InputError, match="--data"):
        pipeline.prepare(quick(workshop, output, "int8"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(workshop.checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="truncated"):
        pipeline.prepare(dataclasses.replace(quick(workshop, output), checkpoint=cut))
    (tmp_path / "b.ebts").mkdir()
    with pytest.raises(InputError, match="--force"):
        pipeline.prepare(quick(workshop, tmp_path / "b.ebts"))
    with pytest.raises(InputError, match="--teachers"):
        pipeline.prepare(dataclasses.replace(quick(workshop, output), teachers=(cut, cut)))


def test_another_split_is_refused(workshop: Any, request_int8: Any, tmp_path: Path) -> None:
    """Calibrating on images that the student is tested on would flatter it."""
    from edge_bts.data import make_split, open_dataset, write_split

    write_split(tmp_path / "other.json", make_split(open_dataset(workshop.data), seed=5))
    other = dataclasses.replace(
        request_int8, split=tmp_path / "other.json", output=tmp_path / "a.ebts"
    )
    with pytest.raises(InputError, match="split"):
        pipeline.prepare(other)


@pytest.mark.slow
def test_two_int8_exports_are_equal(bundle: Any, request_int8: Any, tmp_path: Path) -> None:
    """Calibration, fine-tune and gates give the same bytes again, the manifest included."""
    again = dataclasses.replace(request_int8, output=tmp_path / bundle.path.name)
    second = pipeline.export(again, silent)
    assert second.read("model.onnx") == bundle.read("model.onnx")
    manifest = (second.path / "manifest.json").read_bytes()
    assert manifest == (bundle.path / "manifest.json").read_bytes()


def test_a_failed_gate_writes_nothing(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy ends the export with code 4, latency with 5; what passes is in the manifest."""
    from edge_bts.errors import LatencyGateError
    from edge_bts.export.gates import Verdict
    from edge_bts.manifest import Gate

    request = quick(workshop, tmp_path / "a.ebts", "fp16")
    half = pipeline.export_models(workshop.folded, workshop.folded, 64, request.settings)
    monkeypatch.setattr(pipeline, "export_models", lambda *_: half)

    def limited(ratio: float) -> pipeline.Request:
        latency = {"gate": True, "ratio": ratio, "rounds": 3, "frames": 1, "warmup": 0}
        settings = {**request.settings.model_dump(), "latency": latency}
        return dataclasses.replace(request, settings=ExportSettings.model_validate(settings))

    with monkeypatch.context() as patch:
        lost = {"missed_lesions": Verdict(gate=Gate(value=0.5, at_most=0.02, n=40))}
        patch.setattr(pipeline, "run_gates", lambda *_, **__: lost)
        with pytest.raises(AccuracyGateError, match=r"missed_lesions is 0\.5.*nothing was written"):
            pipeline.export(request, silent)
    with pytest.raises(LatencyGateError, match="use --fp16 or --fp32") as caught:
        pipeline.export(limited(1e-6), silent)
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []
    made = pipeline.export(limited(1e6), silent).manifest
    assert made.gates["latency"].n == 3
    assert made.gates["flicker"].reason.startswith("0 pairs of frames")
