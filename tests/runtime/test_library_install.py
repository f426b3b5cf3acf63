"""The headers of libedge_bts, what it exports, and programs that use it as it was installed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import libedge_bts as ebts
import pytest
from libedge_bts import blobs
from native_build import compile_all, configure, run, tool

from edge_bts.runtime import Segmenter

pytestmark = pytest.mark.slow


def test_the_header_is_c99_and_cpp17(repository: Path, tmp_path: Path) -> None:
    """It compiles alone, with every warning an error, in both languages."""
    source = tmp_path / "only.c"
    source.write_text("#include <edge_bts/edge_bts.h>\nint main(void) { return EBTS_OK; }\n")
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    include = repository / "runtime" / "include"
    run(tool("cc"), "-std=c99", *flags, "-I", include, source)
    run(tool("c++"), "-std=c++17", *flags, "-x", "c++", "-I", include, source)


PROGRAM = """
#include <stdbool.h>
static struct {{ unsigned char *pixels; unsigned width, height; double mm; uint64_t time; }} image;
static unsigned char mask[1024 * 768];
int refuse(const char *why);
bool next_image(void *image);
void hide_overlay(const char *why);
void draw(const uint8_t *, const ebts_component *const *, uint32_t, uint64_t);
int main(void) {{ {loop} return 0; }}
"""


LIVE = """
#include <edge_bts/edge_bts.h>
typedef struct scanner_image scanner_image;
extern ebts_session *session;
extern uint8_t mask[];
ebts_frame describe(const scanner_image *image);
void report(const char *why);
void hide_overlay(const char *why);
void draw(const uint8_t *, const ebts_component *const *, uint32_t, uint64_t);
{loop}
void (*const used[])(void) = {{(void (*)(void))on_image, on_refresh}};
"""


def test_the_loops_in_the_header_compile(repository: Path, tmp_path: Path) -> None:
    """What the manual shows are programs, once the scanner's own functions are declared."""
    include = repository / "runtime" / "include"
    header = (include / "edge_bts" / "edge_bts.h").read_text()

    def shown(start: str, end: str) -> str:
        block = header.split(start, 1)[1].split(end, 1)[0]
        return "\n".join(line.removeprefix(" *") for line in block.splitlines())

    first, loop = shown("\n *   #include", "ebts_segment returns when").split("\n", 1)
    live = shown("never waits ----\n *\n", " * The session's thread always")
    assert "ebts_segment(session, &frame, &planes, &result)" in loop
    assert "ebts_poll(session, 0, &planes, &result)" in live
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    for text in (f"#include{first}\n" + PROGRAM.format(loop=loop), LIVE.format(loop=live)):
        source = tmp_path / "loop.c"
        source.write_text(text)
        run(tool("cc"), "-std=c99", *flags, "-I", include, source)


def test_only_the_interface_is_exported(repository: Path, native_build: Path) -> None:
    """The library's dynamic symbols are the functions of the header, all of them."""
    out = run(tool("nm"), "-D", "--defined-only", native_build / "runtime" / "libedge_bts.so")
    header = (repository / "runtime" / "include" / "edge_bts" / "edge_bts.h").read_text()
    declared = {
        word.split("(")[0].lstrip("*")
        for line in header.splitlines()
        if line.startswith("EBTS_API ")
        for word in line.split()
        if word.lstrip("*").startswith("ebts_") and "(" in word
    }
    assert {line.split()[-1] for line in out.splitlines()} == declared
    assert len(declared) == 14


@pytest.fixture(scope="module")
def installed(native_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix where the library is installed."""
    prefix = tmp_path_factory.mktemp("prefix")
    run(tool("cmake"), "--install", native_build, "--prefix", prefix, "--component", "runtime")
    return prefix


def test_the_debian_package_holds_the_installed_tree(
    native_build: Path, installed: Path, tmp_path: Path
) -> None:
    """What cpack packs is what is installed, under /usr, with the packages that it needs."""
    unpack = tool("dpkg-deb")
    run(tool("cpack"), "-G", "DEB", "--config", native_build / "CPackConfig.cmake", "-B", tmp_path)
    (package,) = tmp_path.glob("libedge-bts_*.deb")
    run(unpack, "-x", package, tmp_path / "root")

    def files(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}

    assert files(tmp_path / "root" / "usr") == files(installed)
    assert "libsodium" in run(unpack, "-f", package, "Depends")


def test_the_example_runs_from_the_installed_tree(
    repository: Path,
    installed: Path,
    segmenter: Segmenter,
    blob_bundle: Path,
    maker: Path,
    tmp_path: Path,
) -> None:
    """A C99 program that finds the package by CMake prints what Python measures."""
    configure(repository / "runtime" / "examples", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    compile_all(tmp_path)
    pixels = blobs(90, 120, 8)
    image = tmp_path / "image.pgm"
    image.write_bytes(b"P5\n120 90\n255\n" + pixels.tobytes())
    program = tmp_path / "segment_one"
    lines = run(program, blob_bundle, maker.with_suffix(".pub"), image, "0.1").splitlines()
    want = segmenter.segment(pixels, 0.1)
    assert want.present
    assert lines[0].startswith(f"health 0, presence {want.presence:.3f}, ")
    assert lines[1:] == [
        f"component {number}: area {part.area_px} px, {part.longest_px:.2f} x "
        f"{part.orthogonal_px:.2f} px, box {' '.join(map(str, part.bbox))}, contour of "
        f"{len(part.contour)} points, {part.longest_mm:.2f} x {part.orthogonal_mm:.2f} mm"
        for number, part in enumerate(want.components, start=1)
    ]
    refused = subprocess.run(
        [program, blob_bundle, tmp_path / "no.pub", image], capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "no.pub" in refused.stderr
    assert not refused.stdout


def test_the_live_example_runs_from_the_installed_tree(
    repository: Path, installed: Path, blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """A C++17 program with a camera's and a display's thread accounts for every frame."""
    configure(repository / "runtime" / "examples", tmp_path, f"-DCMAKE_PREFIX_PATH={installed}")
    compile_all(tmp_path)
    image = tmp_path / "image.pgm"
    image.write_bytes(b"P5\n120 90\n255\n" + blobs(90, 120, 8).tobytes())
    out = run(tmp_path / "live_loop", blob_bundle, maker.with_suffix(".pub"), image, "40", "400")
    counts = {
        word: int(number)
        for word, number in re.findall(r"(frames|results|errors|dropped) (\d+)", out)
    }
    assert counts["frames"] == 40 == counts["results"] + counts["errors"] + counts["dropped"]
    assert counts["errors"] == 0 < counts["results"]
    drawn, hidden = map(int, re.findall(r"drawn (\d+), hidden (\d+)", out)[0])
    assert drawn + hidden >= counts["results"]


LOOP = r"""
#include <edge_bts/edge_bts.hpp>
#include <cstdio>
#include <vector>

int main(int, char** argv) {
    auto how = ebts::sized<ebts_model_options>();
    const char* const keys[] = {argv[2]};
    how.key_files = keys;
    how.key_file_count = 1;
    ebts::Model model(argv[1], how);
    auto limits = ebts::sized<ebts_session_options>();
    limits.max_width = limits.max_height = 64;
    ebts::Session first(model, limits);
    ebts::Session session = std::move(first);
    session.self_test();
    const std::vector<unsigned char> pixels(64 * 64);
    auto frame = ebts::sized<ebts_frame>();
    frame.data = pixels.data();
    frame.width = frame.height = 64;
    frame.format = EBTS_GRAY8;
    const auto planes = ebts::sized<ebts_planes>();
    std::printf("%s %u\n", model.describe().name, session.segment(frame, planes).health);
    try {
        ebts::Model nothing("nowhere", how);
    } catch (const ebts::Error& error) {
        std::printf("%d\n", error.status());
    }
}
"""


def test_the_wrapper_runs_from_the_installed_tree(
    installed: Path, blob_bundle: Path, maker: Path, tmp_path: Path
) -> None:
    """A C++17 program that finds the library by pkg-config; errors come as exceptions."""
    source, program = tmp_path / "loop.cpp", tmp_path / "loop"
    source.write_text(LOOP)
    (folder,) = (path.parent for path in installed.rglob("edge_bts.pc"))
    flags = run(tool("pkg-config"), "--cflags", "--libs", "edge_bts",
                env={**os.environ, "PKG_CONFIG_PATH": str(folder)}).split()  # fmt: skip
    run(tool("c++"), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", source,
        "-o", program, *flags, f"-Wl,-rpath,{folder.parent}")  # fmt: skip
    out = run(program, blob_bundle, maker.with_suffix(".pub"))
    assert out.split() == ["blob", str(ebts.EMPTY), str(ebts.BUNDLE)]


@pytest.mark.parametrize(
    ("line", "compiles"),
    [
        ("session.segment(frame, planes);", True),
        ("ebts::Session other = std::move(session);", True),
        ("ebts::Session other = session;", False),
        ("ebts::Model other = model;", False),
        ("ebts::Session(model, limits).segment(frame, planes);", False),
        ('ebts::Model("x").describe();', False),
        ("live.submit(frame); auto result = live.poll(planes); (void)result;", True),
        ("ebts::LiveSession other = std::move(live);", True),
        ("ebts::LiveSession other = live;", False),
        ("ebts::LiveSession(model, limits).poll(planes);", False),
        ("live.segment(frame, planes);", False),
        ("session.submit(frame);", False),
        ("ebts::Session other = std::move(live);", False),
    ],
)
def test_misuse_of_the_wrapper_does_not_compile(
    repository: Path, tmp_path: Path, line: str, compiles: bool
) -> None:
    """Handles are not copied, and no result outlives its session."""
    source = tmp_path / "line.cpp"
    source.write_text(
        "#include <edge_bts/edge_bts.hpp>\n"
        "void f(ebts::Model& model, ebts::Session& session, ebts::LiveSession& live,\n"
        "       const ebts_frame& frame, const ebts_planes& planes,\n"
        "       const ebts_session_options& limits) {\n"
        f"    {line}\n"
        "    (void)model, (void)session, (void)live, (void)frame;\n"
        "    (void)planes, (void)limits;\n}\n"
    )
    include = repository / "runtime" / "include"
    done = subprocess.run(
        [tool("c++"), "-std=c++17", "-fsyntax-only", "-I", include, source], capture_output=True
    )
    assert (done.returncode == 0) == compiles, done.stderr


def test_the_table_of_faults_names_tests_that_exist(repository: Path) -> None:
    """Every file, function and case that docs/runtime.md gives as the proof of a row is there."""
    page = (repository / "docs" / "runtime.md").read_text()
    rows = page.split("## Faults", 1)[1].split("\n## ", 1)[0].splitlines()
    proofs = [row.rsplit("|", 2)[1] for row in rows if row.startswith("|")][2:]
    files = {
        path.name: path.read_text()
        for folder in ("runtime/tests", "tests/runtime")
        for path in (repository / folder).rglob("test_*")
        if path.suffix in (".cpp", ".py")
    }
    assert len(proofs) > 15
    for proof in proofs:
        text = ""  # of the file that was named last
        for code, case in re.findall(r'`([^`]+)`|"([^"]+)"', proof):
            file, _, function = code.rpartition("::")
            if case:
                assert re.search(rf'TEST_CASE\(\s*"[^"]*{re.escape(case)}', text), (proof, case)
            elif function.endswith((".cpp", ".py")):
                text = files[Path(function).name]
            else:
                text = files[file] if file else text
                assert f"def {function.rstrip('.')}" in text, (proof, code)
