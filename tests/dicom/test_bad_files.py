"""What is damaged, hostile or not for us ends in one sentence, within memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bad_dicom import bad_files
from ultrasound import loop, save, ultrasound

from edge_bts.dicom import reading
from edge_bts.dicom.protocol import MEMORY
from edge_bts.dicom.reading import open_cine, read_cine
from edge_bts.errors import InputError

BAD = bad_files()
PARENT_MIB, PARENT_CPU_S, WALL_S = 768, 60, 300


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each file ends in, opened in a process of limited memory and time."""
    folder = tmp_path_factory.mktemp("bad")
    paths = {name: folder / f"{number:03}.dcm" for number, name in enumerate(BAD)}
    for name, path in paths.items():
        path.write_bytes(BAD[name]())
    good = save(ultrasound(loop()), folder / "good.dcm")
    script = Path(__file__).parents[1] / "support" / "open_dicom.py"
    command = [sys.executable, script, PARENT_MIB, PARENT_CPU_S, *paths.values(), good]
    done = subprocess.run(
        [str(argument) for argument in command],
        capture_output=True, text=True, timeout=WALL_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    said = json.loads(done.stdout)
    assert said["found"].pop(str(good)) == "3 frames"
    assert said["peak_mib"] <= MEMORY >> 20
    return {
        name: said["found"][str(path)].replace(str(path), "FILE") for name, path in paths.items()
    }


def test_there_are_eighty_and_more() -> None:
    """As SECURITY.md says."""
    assert len(BAD) >= 80


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_ends_in_one_sentence(name: str, outcomes: dict[str, str]) -> None:
    """It names the file, what is wrong with it and what to do; nothing else happens."""
    said = outcomes[name]
    assert said.startswith("Expected a DICOM ultrasound image in FILE, but ")
    assert said.endswith(".")
    assert said.isprintable()
    assert len(said) < 500
    assert "protocol" not in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truncated in the first frame", "truncated (4988 of 32940 bytes"),
        ("RLELossless truncated in the first frame", "truncated (within a frame)"),
        ("4096 x 4096 x 100000", "above 4294967296 pixels"),
        ("deflated 4 GB", "more than 1024 MiB of memory"),
        ("a length of regions of 2 GB", "more than 1024 MiB of memory"),
        ("sequences nested 5000 deep", "nested too deep"),
        ("MPEG-4", "is not read here; convert it"),
        ("CT", "1.2.840.10008.5.1.4.1.1.2, not US Image"),
        ("without Rows", "Rows is missing"),
        ("a frame cut and whole again", "frame 1 has no end"),
        ("noise in a JPEG", "frame 1 cannot be decoded"),
        ("JPEG 2000 called JPEG", "not compressed as its transfer syntax says"),
    ],
)
def test_the_sentence_says_what_is_wrong(name: str, words: str, outcomes: dict[str, str]) -> None:
    """And not only that something is."""
    assert words in outcomes[name]


@pytest.mark.parametrize("name", ["deflated 4 GB", "noise in a JPEG 2000", "no rows"])
def test_the_decoder_of_its_own_process_says_the_same(
    name: str, tmp_path: Path, outcomes: dict[str, str]
) -> None:
    """Started anew, as users have it."""
    path = tmp_path / "bad.dcm"
    path.write_bytes(BAD[name]())
    with pytest.raises(InputError) as raised:
        list(read_cine(open_cine(path)))
    assert str(raised.value).replace(str(path), "FILE") == outcomes[name]


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel ends a decoder that uses up the processor time of one step."""
    script = tmp_path / "decoder"
    script.write_text(
        f"#!{sys.executable}\n"
        "from edge_bts.dicom import worker\n"
        "worker.FRAME_CPU_S = 0\n"
        "def spin(*_, **__):\n"
        "    while True: pass\n"
        "worker._parse = spin\n"
        "worker.main()\n"
    )
    script.chmod(0o755)
    path = save(ultrasound(loop()), tmp_path / "a.dcm")
    monkeypatch.setattr(reading.sys, "executable", str(script))
    with pytest.raises(InputError, match="took more than 10 s for a step"):
        open_cine(path)
