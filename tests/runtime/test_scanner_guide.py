"""The guide docs/scanner.md and the example for Clarius Cast."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libedge_bts as ebts
import numpy as np
import pytest
from libedge_bts import Library
from native_build import compile_all, configure, run, tool

WIDTH, HEIGHT, FRAMES = 640, 480, 30


def bare(text: str) -> str:
    """Code without its indentation, so that an excerpt is a part of it."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


def test_every_block_of_code_is_a_part_of_a_program(repository: Path) -> None:
    """What the guide shows is compiled and run: it stands in an example, line by line."""
    guide = (repository / "docs" / "scanner.md").read_text()
    examples = repository / "runtime" / "examples"
    programs = [bare(path.read_text()) for path in examples.glob("*.c*")]
    blocks = re.findall(r"```(\w+)\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) >= 6
    for language, block in blocks:
        assert language == "cpp"
        assert any(f"{bare(block)}\n" in program for program in programs), block


def test_every_file_that_the_guide_names_is_there(repository: Path) -> None:
    """Its links lead somewhere."""
    guide = repository / "docs" / "scanner.md"
    links = re.findall(r"\]\(([^)#]+)", guide.read_text())
    assert links
    for link in links:
        assert (guide.parent / link).exists(), link


@pytest.fixture(scope="module")
def clarius_cast(
    repository: Path, native_build: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The example, built from an installed library and the stand-in for Cast."""
    cast = repository / "tests" / "support" / "cast"
    folder = tmp_path_factory.mktemp("clarius")
    configure(cast, folder / "cast")
    compile_all(folder / "cast")
    run(tool("cmake"), "--install", native_build, "--prefix", folder / "prefix",
        "--component", "runtime")  # fmt: skip
    configure(
        repository / "runtime" / "examples",
        folder / "build",
        f"-DCMAKE_PREFIX_PATH={folder / 'prefix'}",
        f"-DCAST_INCLUDE={cast / 'include'}",
        f"-DCAST_LIBRARY={folder / 'cast' / 'libcast.so'}",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror",
    )
    run(tool("cmake"), "--build", folder / "build", "--target", "clarius_cast")
    return folder / "build" / "clarius_cast"


@pytest.fixture(scope="module")
def segment(library: Library, model: Any) -> Iterator[Any]:
    """``ebts_segment``: mask and result."""
    status, session = library.session(model, max_width=WIDTH, max_height=HEIGHT)
    assert status == ebts.OK, library.error()
    yield lambda pixels: library.run(session, pixels)[1::2]
    library.session_destroy(session)


@pytest.mark.slow
def test_the_capture_is_the_mask_of_the_frozen_frame(
    clarius_cast: Path, segment: Any, blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """Cast's buffers are gone after each callback; the last frame is stored with its own mask."""
    image = np.full((HEIGHT, WIDTH), 20, np.uint8)
    image[150:300, 200:380] = 235
    image[350:420, 60:200] = 235
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5\n640 480\n255\n" + image.tobytes())
    key = maker.with_suffix(".pub")
    said = run(clarius_cast, blob_bundle, key, path, "5828", "60000").splitlines()
    frozen = np.roll(image.ravel(), FRAMES - 1)
    frozen[: FRAMES - 1] = 0
    mask, result = segment(frozen.reshape(image.shape))
    assert result.component_count == 2
    assert said[0] == f"frame {FRAMES}"
    assert said[1] == f"overlay 7 {int(mask.sum())}"
    for line, part in zip(said[2:4], result.found, strict=True):
        points = [float(word) for word in line.split()[3:]]
        assert line.startswith("measurement 7 3 ")
        assert np.reshape(points, (-1, 2)).tolist() == part.points.tolist()
    assert said[4] == "capture stored"
    frames, refused, dropped, drawn, hidden = map(int, re.findall(r"\d+", said[5]))
    assert (frames, refused, hidden) == (FRAMES, 0, 0)  # neither Doppler nor JPEG was submitted
    assert dropped + drawn == FRAMES


@pytest.mark.slow
def test_no_scanner_is_one_sentence(clarius_cast: Path, blob_bundle: Path, maker: Path) -> None:
    """Where nobody casts the program says so and ends."""
    done = subprocess.run(
        [clarius_cast, blob_bundle, maker.with_suffix(".pub"), "/nobody", "5828"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "clarius_cast: no scanner casts at /nobody\n"
