"""Networks of others from their PyTorch code: both files, measured like any peer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("nncf")
pytest.importorskip("onnx")

from edge_bts.benchmarks.bench import bench
from edge_bts.benchmarks.peer import main
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.signing import Trust

CODE = """
from torch import nn

class Theirs(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 1)
        self.folded = False

    def fold(self):
        self.folded = True

    def forward(self, image):
        assert self.folded
        return [self.last(self.convolution(image).relu()), None]
"""


def test_both_files_are_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that answers with a list becomes an ONNX and an INT8 IR that compute the same."""
    (tmp_path / "theirs.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    output = tmp_path / "peers" / "net"
    main(["theirs:Theirs", '{"width": 16}', "--then", "fold", "-o", str(output)])
    said = capsys.readouterr().out.splitlines()[-1]
    parameters, macs = 16 * 27 + 16 + 16 + 1, (16 * 27 + 16) * 256 * 256
    assert said.startswith(f"net: {parameters} parameters, {macs / 1e9:.3f} GMACs; ")
    differences = [float(word.strip(",")) for word in said.split() if "e-" in word]
    assert differences[0] < 1e-5
    assert differences[1] < 0.02
    settings = BenchSettings(
        seconds=0.05,
        frames=6,
        warmup_seconds=0,
        roofline=False,
        layers=False,
        backends=["openvino"],
    )
    files = [output.with_name("net.onnx"), output.with_name("net-int8.xml")]
    rows = bench(files, trust=Trust(), settings=settings).rows
    assert [row.label for row in rows] == ["net, openvino fp32", "net-int8, openvino int8"]
