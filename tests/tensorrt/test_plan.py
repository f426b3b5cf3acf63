"""The head of a plan, versions, the head of an ONNX file, JetPack."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edge_bts.tensorrt import jetpack
from edge_bts.tensorrt.onnx_head import read_onnx_head
from edge_bts.tensorrt.plan import has_plan_tag, plan_version, same_version, version_numbers


def head(tag: bytes = b"ftrt", serialisation: int = 0) -> bytes:
    """28 bytes written by hand: the tag 0x74727466 is ``ftrt`` in little-endian order."""
    return tag + struct.pack("<I", serialisation) + bytes(16) + bytes([10, 13, 3, 9])


def test_a_plan_tells_its_version() -> None:
    """Tag, serialisation version 0, then four bytes of version."""
    assert has_plan_tag(head())
    assert plan_version(head()) == (10, 13, 3, 9)


def test_an_unknown_serialisation_cannot_tell() -> None:
    """Another layout is no failure: nothing is read from it."""
    assert has_plan_tag(head(serialisation=1))
    assert plan_version(head(serialisation=1)) is None


@pytest.mark.parametrize("plan", [b"", head()[:27], head(b"\x08\x09\x12\x00")])
def test_what_is_no_plan_has_no_tag(plan: bytes) -> None:
    """Too short, or another file."""
    assert not has_plan_tag(plan)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("10.3.0", (10, 3, 0)), ("10.13.3.9.post1", (10, 13, 3, 9)), ("v11", ()), ("", ())],
)
def test_versions_are_their_leading_numbers(text: str, numbers: tuple[int, ...]) -> None:
    """Packages of pip append to the version."""
    assert version_numbers(text) == numbers


@pytest.mark.parametrize(
    ("plan", "library", "same"),
    [
        ((10, 3, 0, 30), (10, 3, 0), True),  # JetPack leaves the build number out
        ((11, 4, 0, 106), (11, 4, 0, 106), True),
        ((10, 16, 2, 10), (10, 16, 2, 266), True),  # one byte in the plan
        ((10, 3, 0, 30), (10, 3, 0, 26), False),
        ((10, 3, 0, 30), (10, 13, 3, 9), False),
        ((10, 3, 0, 30), (), False),
    ],
)
def test_versions_are_compared_as_far_as_both_go(
    plan: tuple[int, ...], library: tuple[int, ...], same: bool
) -> None:
    """An engine of another build is of another TensorRT."""
    assert same_version(plan, library) is same


@pytest.mark.parametrize(("ir", "opset"), [(9, 19), (10, 21), (8, 200)])
def test_ir_and_opset_are_those_that_onnx_reads(ir: int, opset: int) -> None:
    """The reader without the package agrees with the package."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", [], [])
    opsets = [helper.make_opsetid("com.other", 3), helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    model.doc_string = "x" * 300
    assert read_onnx_head(model.SerializeToString()) == (ir, opset)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x08", b"\x0a\x7fcut"])
def test_what_is_no_onnx_gives_nothing(content: bytes) -> None:
    """Null, not a guess and not an exception."""
    assert read_onnx_head(content) == (None, None)


@pytest.mark.parametrize(
    ("line", "l4t", "name"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "36.4.3", "6.2"),
        ("# R36 (release), REVISION: 3.0, GCID: 1", "36.3.0", "6.0"),
        ("# R35 (release), REVISION: 4.1, GCID: 1", "35.4.1", "5.1.2"),
        ("# R39 (release), REVISION: 2.1, GCID: 1", "39.2.1", "7.2.1"),
        ("# R77 (release), REVISION: 1.0, GCID: 1", "77.1.0", "unknown"),
        ("something else", "unknown", "unknown"),
    ],
)
def test_jetpack_comes_from_a_table(line: str, l4t: str, name: str, tmp_path: Path) -> None:
    """What the table lacks is unknown, never the nearest."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(f"{line}\n")
    assert jetpack.l4t(tmp_path) == l4t
    assert jetpack.jetpack(l4t) == name


def test_the_toolkit_says_its_version(tmp_path: Path) -> None:
    """In version.json; other content is None, not a guess."""
    path = tmp_path / "usr/local/cuda/version.json"
    assert jetpack.cuda_toolkit(tmp_path) is None
    path.parent.mkdir(parents=True)
    path.write_text('{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}')
    assert jetpack.cuda_toolkit(tmp_path) == "12.6.68"
    path.write_text('{"cuda": 12}')
    assert jetpack.cuda_toolkit(tmp_path) is None


def test_a_desktop_is_no_jetson(tmp_path: Path) -> None:
    """No file, no L4T; no device tree, no board."""
    assert jetpack.l4t(tmp_path) is None
    assert jetpack.board(tmp_path) is None


def test_the_power_mode_is_what_nvpmodel_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first line names the mode; without the program there is none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jetpack.power_mode() is None
    program = tmp_path / "nvpmodel"
    program.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    program.chmod(0o755)
    assert jetpack.power_mode() == "MAXN_SUPER"
