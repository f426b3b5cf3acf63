"""What the package promises: one import name, a light import, one version, pinned dependencies."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import edge_bts
from edge_bts import geometry

HEAVY = (
    "torch",
    "nncf",
    "onnx",
    "onnxruntime",
    "openvino",
    "kornia",
    "monai",
    "matplotlib",
    "tensorrt",
    "cuda",
    "pycuda",
)


def isolated(code: str, folder: Path) -> str:
    """What a fresh interpreter prints that sees the installed package only, not the checkout."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    ["edge_bts", "edge_bts.geometry", "edge_bts.cli", "edge_bts.data", "edge_bts.runtime",
     "edge_bts.bundle", "edge_bts.metrics", "edge_bts.measure", "edge_bts.export.gates",
     "edge_bts.tensorrt.build", "edge_bts.runtime._tensorrt"],
)  # fmt: skip
def test_import_is_light(module: str, tmp_path: Path) -> None:
    """Nothing that a device runs imports torch, a quantizer or an executor before it is used."""
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert isolated(code, tmp_path).strip() == "[]"


def test_package_itself_needs_numpy_alone(tmp_path: Path) -> None:
    """`import edge_bts` adds nothing from site-packages to the interpreter but numpy at most."""
    code = (
        "import sys; before = set(sys.modules); import edge_bts; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names) - {'edge_bts', 'numpy'}))"
    )
    assert isolated(code, tmp_path).strip() == "[]"


def test_folders_beside_the_package_are_its_subpackages(tmp_path: Path) -> None:
    """trainers/, export/ and benchmarks/ are found as edge_bts.*; the wheel test judges the rest.

    An editable install puts the checkout on sys.path too (scikit-build-core 1.1), so that there a
    bare `import trainers` works by accident; ruff forbids it in the sources.
    """
    code = (
        "import importlib.util as u; "
        "print([u.find_spec('edge_bts.' + n) is not None for n in "
        "('trainers', 'export', 'benchmarks')])"
    )
    assert isolated(code, tmp_path).strip() == "[True, True, True]"


def test_version_is_one(repository: Path) -> None:
    """pyproject.toml, the package, its metadata and the C++ core name the same version."""
    text = (repository / "pyproject.toml").read_text()
    match = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    assert match is not None
    assert match.group(1) == edge_bts.__version__ == metadata.version("edge-bts")
    if geometry.BACKEND == "native":
        from edge_bts import _native

        assert _native.__version__ == edge_bts.__version__


def test_every_dependency_is_pinned(repository: Path) -> None:
    """Each distribution that pyproject.toml names has a line in constraints.txt, without a tag."""
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+(; python_version [<>]=? '3\.\d+')?", p) for p in pins)
    pinned = {canonical(pin.split("==")[0]) for pin in pins}
    needed = {
        canonical(match.group())
        for line in metadata.requires("edge-bts") or []
        if (match := re.match(r"[\w.-]+", line))
    }
    assert needed - {"edge-bts"} <= pinned


def canonical(name: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(*arguments: str | Path) -> None:
    """Run pip."""
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = f"build-dir={folder / 'build'}"
    pip("wheel", "--no-build-isolation", "--no-deps", "-q", "-C", build, "-w", folder, repository)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """The only top-level name is edge_bts; recipes, types and, where built, the core are inside."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"edge_bts"}
    for wanted in (
        "edge_bts/py.typed",
        "edge_bts/_native.pyi",
        "edge_bts/_runtime.pyi",
        "edge_bts/trainers/recipes/busi-cpu.toml",
        "edge_bts/trainers/studies/busi-cpu.toml",
        "edge_bts/export/__init__.py",
        "edge_bts/benchmarks/__init__.py",
    ):
        assert wanted in names
    assert not [name for name in names if re.search(r"__pycache__|/tests/|\.[ch]pp$", name)]
    if geometry.BACKEND == "native":
        assert [name for name in names if re.fullmatch(r"edge_bts/_native\..+\.(so|pyd)", name)]


@pytest.mark.slow
def test_an_installed_wheel_runs_the_cpp_library(
    wheel: Path, repository: Path, tmp_path: Path
) -> None:
    """In a new environment it finds the OpenVINO that lies beside it, by its RPATH alone."""
    openvino = pytest.importorskip("openvino")
    if geometry.BACKEND != "native" or importlib.util.find_spec("edge_bts._runtime") is None:
        pytest.skip("the C++ library is not built here")
    venv.create(tmp_path / "new")
    python = tmp_path / "new" / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "-q", wheel)
    (site,) = (tmp_path / "new").glob("lib/python*/site-packages")
    (site / "openvino").symlink_to(Path(openvino.__file__).parent)
    (site / "others.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    models = repository / "models"
    code = (
        "import sys; from edge_bts import _runtime, runtime; print(_runtime.__file__); "
        f"s = runtime.open({str(models / 'busi-nano.ebts')!r}, "
        f"trust={str(models / 'release.pub')!r}, threads=1); "
        "print(s.name, s.describe()['details']['self_tested'], 'openvino' in sys.modules)"
    )
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, said = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert said == "busi-nano True False"


def test_repository_names_no_machine(repository: Path) -> None:
    """No tracked text file holds the path of somebody's machine."""
    done = subprocess.run(
        ["git", "grep", "-lIE", r"(/root/|/home/[a-z]+/|/work/(main|shared|scratch)|/tmp/[a-z])"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode > 1:
        pytest.skip("not a git checkout")
    assert done.stdout.replace("tests/test_packaging.py", "").split() == []
