"""The process that decodes, and what is made of its words."""

from __future__ import annotations

import stat
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ultrasound import loop, save, ultrasound

from edge_bts.dicom import reading
from edge_bts.dicom.protocol import MESSAGE
from edge_bts.dicom.reading import is_dicom, open_cine, read_cine
from edge_bts.errors import EnvironmentMismatchError, InputError

PYTHON = sys.executable


def test_files_without_a_suffix_are_known_by_their_start(cine: Path) -> None:
    """As scanners name them."""
    assert is_dicom(cine)
    cine.write_bytes(cine.read_bytes()[1:])
    assert not is_dicom(cine)


def test_a_file_that_changes_under_way_is_refused(cine: Path) -> None:
    """Between the look at it and its frames."""
    found = open_cine(cine)
    save(ultrasound(loop()), cine)  # another instance
    with pytest.raises(InputError, match="changed since it was opened"):
        list(read_cine(found))


def test_the_extra_is_named_where_it_lacks(cine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the mend."""
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: name if name != "pydicom" else None
    )
    with pytest.raises(EnvironmentMismatchError, match=r"pydicom.*pip install 'edge-bts\[dicom\]'"):
        open_cine(cine)


def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let ``code`` play the decoder; ``say(letter, content)`` is at its hand."""
    script = tmp_path / "decoder"
    script.write_text(
        f"#!{PYTHON}\n"
        "import json, os, signal, struct, sys, time\n"
        "def say(letter, content, mark=b'EBTS', length=None):\n"
        "    size = len(content) if length is None else length\n"
        "    head = struct.pack('>4scI', mark, letter, size)\n"
        "    sys.stdout.buffer.write(head + content)\n"
        "    sys.stdout.buffer.flush()\n" + code
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(reading.sys, "executable", str(script))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", "ended with code 0 before it spoke"),
        ("sys.exit(9)", "ended with code 9"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed on it .SIGSEGV."),
        ("os.kill(os.getpid(), signal.SIGXCPU)", "took more than 10 s"),
        ("time.sleep(60)", "no answer for 0.2 s"),
        ("for c in b'EBTS' * 99: print(chr(c), end='', flush=True); time.sleep(0.1)", "no answer"),
        ("sys.stdout.write('Hello, world'); sys.stdout.flush()", "did not keep"),
        ("say(b'F', b'')", "did not keep"),
        ("say(b'H', b'{}')", "did not keep"),
        ("say(b'H', b'[' * 1000)", "did not keep"),
        ("say(b'H', b'', length=1 << 31)", "did not keep"),
        ("say(b'H', b'{}', length=20)", "ended with code 0"),
        ("say(b'E', b'?')", "did not keep"),
        ("say(b'E', b'', length=1 << 31)", "did not keep"),
        ("say(b'E', json.dumps({'why': 'a\\nb\\x1b[2J', 'mend': 'c'}).encode())", "a b .2J; c"),
    ],
)
def test_a_decoder_that_went_wrong_is_not_believed(
    cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    """Whatever it says or does is one sentence about the file."""
    worker(tmp_path, monkeypatch, code)
    monkeypatch.setattr(reading, "ANSWER_S", 0.2 if "sleep" in code else 30.0)
    with pytest.raises(InputError, match=why) as raised:
        open_cine(cine)
    assert str(raised.value).startswith(f"Expected a DICOM ultrasound image in {cine}, but ")
    assert "\n" not in str(raised.value)


HEADER: dict[str, Any] = {
    "rows": 2, "columns": 2, "frames": 1, "channels": 1, "times_s": None, "fps": None,
    "regions": [], "pixel_spacing": [], "notes": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 0},
        {"rows": 4097},
        {"rows": "2"},
        {"frames": 100_001},
        {"rows": 4096, "columns": 4096, "frames": 1000},
        {"channels": 2},
        {"fps": 0.0},
        {"times_s": [0.0, 1.0]},
        {"regions": [{"format": 1.0}]},
        {"extra": 1},
    ],
)
def test_a_header_beyond_the_limits_is_not_believed(
    cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """The limits hold on this side too, before anything is taken for a frame."""
    header = HEADER | {"identity": open_cine(cine).identity} | changes
    worker(tmp_path, monkeypatch, f"say(b'H', json.dumps({header!r}).encode())")
    with pytest.raises(InputError, match="did not keep"):
        open_cine(cine)


@pytest.mark.parametrize(
    "last", ["say(b'F', b'1234')", "say(b'Z', b'?')", "say(b'H', b'')", "pass"]
)
def test_frames_are_of_the_size_promised_and_no_more(
    cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """A frame too many, a frame of another size and an end before its time are refused."""
    header = HEADER | {"identity": open_cine(cine).identity}
    head = f"say(b'H', json.dumps({header!r}).encode())\n"
    worker(tmp_path, monkeypatch, head + "say(b'F', b'1234'); say(b'Z', b'')")
    found = open_cine(cine)
    assert np.stack(list(read_cine(found))).tobytes() == b"1234"
    worker(tmp_path, monkeypatch, head + f"say(b'F', b'1234'); {last}")
    with pytest.raises(InputError):
        list(read_cine(found))
    worker(tmp_path, monkeypatch, head + "say(b'F', b'12345')")
    with pytest.raises(InputError, match="did not keep"):
        list(read_cine(found))


def test_the_head_of_a_message_is_nine_bytes() -> None:
    """As the stand-in above writes it."""
    assert MESSAGE.pack(b"EBTS", b"Z", 1) == b"EBTSZ" + struct.pack(">I", 1)
