"""Which network runs in which backend, and the files that each row needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_bts.benchmarks.complexity import Complexity, of_module
from edge_bts.benchmarks.foreign import (
    count_foreign,
    foreign_bytes,
    is_quantized,
    read_foreign,
)
from edge_bts.benchmarks.networks import (
    count_bundle,
    count_onnx,
    export_onnx,
    is_here,
    parse_manifest,
    parse_network,
)
from edge_bts.benchmarks.result import Skipped
from edge_bts.benchmarks.settings import BenchSettings
from edge_bts.benchmarks.worker import Source
from edge_bts.bundle import SUFFIX, Bundle, open_bundle_folder
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.runtime import BackendName
from edge_bts.runtime.native import import_runtime
from edge_bts.runtime.opening import file_for
from edge_bts.signing import Trust

if TYPE_CHECKING:
    from torch import nn

    from edge_bts.models import Checkpoint, ModelSpec

__all__ = ["PlannedRow", "Rows", "plan_rows"]

Role = Literal["teacher", "student", "peer"]
_ONNX_BACKENDS: tuple[BackendName, ...] = ("onnxruntime", "openvino")
_BUNDLE_BACKENDS: tuple[BackendName, ...] = (*_ONNX_BACKENDS, "tensorrt")


@dataclass(frozen=True)
class PlannedRow:
    """A row before it is measured; the files of ``source`` exist by now.

    ``who`` is the network's part in the run (``teacher 2``, ``student``), ``label`` adds what
    runs it.
    """

    who: str
    label: str
    role: Role
    network: str
    trained: bool
    source: Source
    complexity: Complexity | None
    file_bytes: int


class Rows:
    """Rows and skipped rows, gathered network by network.

    Args:
        folder: A temporary folder for checkpoints and ONNX files made on the way; it must stay
            until the rows are measured.
        settings: Threads and seed.
        trust: Whose bundles the workers open.
    """

    def __init__(self, folder: Path, settings: BenchSettings, trust: Trust) -> None:
        self.planned: list[PlannedRow] = []
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []
        self._folder = folder
        self._settings = settings
        self._trust = trust
        self._networks: dict[str, str] = {}

    def add_bundle(self, who: str, role: Role, bundle: Bundle, checkpoint: Path | None) -> None:
        """Add the rows of a bundle: both backends in float and its own precision, C++, and torch.

        The torch row takes ``checkpoint``, or untrained weights of the network that the manifest
        names: the speed does not depend on them.
        """
        manifest = bundle.manifest
        spec = parse_manifest(manifest.provenance.model)
        counted = count_bundle(bundle)
        complexity = self._add_torch(who, role, bundle, checkpoint, spec, counted) or counted
        network = manifest.provenance.model or manifest.name
        for precision in dict.fromkeys(("fp32", manifest.precision)):
            for backend in _BUNDLE_BACKENDS:
                if backend == "tensorrt" and not is_here("tensorrt"):
                    continue  # no device for it, rather than a package that is missing
                label = f"{who}, {backend} {precision}"
                try:
                    name = file_for(bundle, backend, precision)
                except InputError as error:
                    self._skip(label, str(error))
                    continue
                source = self._source(
                    backend, precision, bundle=str(bundle.path), trust=self._trust
                )
                size = _size(bundle, name)
                self._add(who, label, role, network, True, source, complexity, size)
        self._add_native(who, role, network, bundle, complexity)

    def add_foreign(self, who: str, path: Path, imgsz: int) -> None:
        """Add the rows of somebody else's ONNX, or the one of an OpenVINO IR.

        Raises:
            InputError: As :func:`read_foreign`.
        """
        content = read_foreign(path)
        quantized, is_onnx = is_quantized(content), isinstance(content, bytes)
        precision = "int8" if quantized else "fp32"
        complexity = None if quantized else count_foreign(path, imgsz)
        size = len(foreign_bytes(content))
        for backend in _ONNX_BACKENDS if is_onnx else ("openvino",):
            label = f"{who}, {backend} {precision}"
            if quantized and is_onnx and backend == "openvino":
                self._skip(label, "OpenVINO's CPU plugin computes ONNX with Q/DQ wrongly")
                continue
            source = self._source(backend, precision, foreign=str(path), imgsz=imgsz)
            self._add(who, label, "peer", path.name, True, source, complexity, size)

    def add_checkpoint(self, who: str, role: Role, path: Path) -> None:
        """Add the rows of a checkpoint: torch, and its float ONNX in the other two."""
        if not is_here("torch"):
            self._skip(who, "torch is not installed, which a checkpoint needs")
            return
        from edge_bts.models import load_checkpoint

        module, checkpoint = load_checkpoint(path)
        self._add_module(who, role, module, checkpoint, path, trained=True)

    def add_untrained(self, who: str, role: Role, text: str, imgsz: int) -> None:
        """Add the rows of a network given as ``name:key=value,...``, with random weights."""
        if not is_here("torch"):
            self._skip(who, "torch is not installed, which builds the network")
            return
        spec = parse_network(text)
        path, module, checkpoint = self._untrained(who, role, spec, imgsz)
        self._add_module(who, role, module, checkpoint, path, trained=False)

    def _add_native(
        self, who: str, role: Role, network: str, bundle: Bundle, complexity: Complexity | None
    ) -> None:
        """Add the row of the C++ library, timed through its Python binding."""
        precision = bundle.manifest.precision
        label = f"{who}, native {precision}"
        if not self._is_wanted("native"):
            return
        name = bundle.manifest.models.get("openvino", "")
        if not name.endswith(".xml"):
            self._skip(label, f"{bundle.path} has no OpenVINO IR, which the C++ library runs")
            return
        try:
            import_runtime()
        except EnvironmentMismatchError as error:
            self._skip(label, str(error))
            return
        source = self._source("native", precision, bundle=str(bundle.path), trust=self._trust)
        size = _size(bundle, name)
        self.planned.append(PlannedRow(who, label, role, network, True, source, complexity, size))

    def _add_torch(
        self,
        who: str,
        role: Role,
        bundle: Bundle,
        path: Path | None,
        spec: ModelSpec | None,
        counted: Complexity | None,
    ) -> Complexity | None:
        label = f"{who}, torch fp32"
        if not is_here("torch"):
            self._skip(label, "torch is not installed")
            return None
        from edge_bts.models import load_checkpoint

        if path is not None:
            module, checkpoint = load_checkpoint(path)
            self._compare_with_manifest(path, bundle)
        elif spec is not None:
            imgsz = bundle.manifest.geometry.imgsz
            file, module, checkpoint = self._untrained(who, role, spec, imgsz)
        else:
            self._skip(label, "no checkpoint was given and the manifest names no known network")
            return None
        complexity = _with_activations(of_module(module, checkpoint.imgsz), counted)
        file = path or file
        trained = path is not None
        self._add_torch_rows(who, role, str(checkpoint.model), file, complexity, trained=trained)
        return complexity

    def _add_torch_rows(
        self,
        who: str,
        role: Role,
        network: str,
        path: Path,
        complexity: Complexity,
        *,
        trained: bool,
    ) -> None:
        """Add the rows of a checkpoint in PyTorch: eager, and compiled or on a GPU if wanted."""
        import torch

        ways: dict[str, dict[str, Any]] = {"torch": {}}
        if self._settings.compiled:
            ways["torch.compile"] = {"compiled": True}
        if torch.cuda.is_available():
            ways["torch cuda"] = {"device": "cuda"}
        for name, how in ways.items():
            source = self._source("torch", "fp32", checkpoint=str(path), **how)
            size = path.stat().st_size
            label = f"{who}, {name} fp32"
            self._add(who, label, role, network, trained, source, complexity, size)

    def _compare_with_manifest(self, path: Path, bundle: Bundle) -> None:
        from edge_bts.files import sha256_file

        expected = bundle.manifest.provenance.checkpoint_sha256
        if expected and sha256_file(path) != expected:
            self.notes.append(f"{bundle.path.name} was not made from {path.name}")

    def _add_module(
        self,
        who: str,
        role: Role,
        module: nn.Module,
        checkpoint: Checkpoint,
        path: Path,
        *,
        trained: bool,
    ) -> None:
        network = str(checkpoint.model)
        key = f"{network} {checkpoint.imgsz}"
        if key in self._networks:
            self._skip(who, f"the same network as {self._networks[key]}, hence as fast")
            return
        self._networks[key] = who
        onnx = self._folder / f"{len(self.planned)}.onnx"
        export_onnx(module, checkpoint.imgsz, onnx)
        complexity = _with_activations(of_module(module, checkpoint.imgsz), count_onnx(onnx))
        self._add_torch_rows(who, role, network, path, complexity, trained=trained)
        names = ("imgsz", "mean", "std", "threshold", "presence_threshold")
        geometry = {name: getattr(checkpoint, name) for name in names}
        for backend in _ONNX_BACKENDS:
            source = self._source(backend, "fp32", file=str(onnx), **geometry)
            label = f"{who}, {backend} fp32"
            self._add(who, label, role, network, trained, source, complexity, onnx.stat().st_size)
        self._skip(f"{who}, int8", f"export it with --int8 and give the {SUFFIX} instead")

    def _untrained(
        self, who: str, role: Role, spec: ModelSpec, imgsz: int
    ) -> tuple[Path, nn.Module, Checkpoint]:
        import torch

        from edge_bts.models import Checkpoint, build_model, save_checkpoint

        torch.manual_seed(self._settings.seed)
        module = build_model(spec).eval()
        # Untrained weights say about 0.5 everywhere; a high threshold spares the row the time of
        # measuring a thousand specks.
        checkpoint = Checkpoint(
            model=spec, role=role, category="all", imgsz=imgsz, mean=0.25, std=0.2, threshold=0.9
        )
        path = self._folder / f"{who.replace(' ', '_')}.safetensors"
        save_checkpoint(path, module, checkpoint)
        return path, module, checkpoint

    def _source(self, backend: str, precision: str, **files: Any) -> Source:
        threads = self._settings.threads
        return Source(backend=backend, precision=precision, threads=threads, **files)

    def _add(
        self,
        who: str,
        label: str,
        role: Role,
        network: str,
        trained: bool,
        source: Source,
        complexity: Complexity | None,
        file_bytes: int,
    ) -> None:
        if not self._is_wanted(source.backend):
            return
        if not is_here(source.backend):
            self._skip(label, f"{source.backend} is not installed")
            return
        row = PlannedRow(who, label, role, network, trained, source, complexity, file_bytes)
        self.planned.append(row)

    def _is_wanted(self, backend: str) -> bool:
        return not self._settings.backends or backend in self._settings.backends

    def _skip(self, label: str, reason: str) -> None:
        self.skipped.append(Skipped(label=label, reason=reason))


def plan_rows(
    bundles: Sequence[Bundle],
    peers: Sequence[Path],
    teachers: Sequence[str],
    student: Path | None,
    folder: Path,
    settings: BenchSettings,
    trust: Trust,
) -> Rows:
    """Make the files of all rows: the teachers' first, then peers, the students' last.

    Args:
        bundles: The students.
        peers: ONNX or IR files of somebody else.
        teachers: Each a checkpoint, a bundle, or ``name:key=value,...`` for untrained weights.
        student: The checkpoint that the first bundle was made from; None measures untrained
            weights in the torch row.
        folder: Where to make them.
        settings: Threads and seed.
        trust: Whose bundles are opened.

    Raises:
        InputError: A teacher that is none of the three, or a damaged file.
        IntegrityError: A bundle that ``trust`` does not cover, or a damaged one.
    """
    rows = Rows(folder, settings, trust)
    imgsz = bundles[0].manifest.geometry.imgsz if bundles else 256
    for number, teacher in enumerate(teachers, 1):
        who = "teacher" if len(teachers) == 1 else f"teacher {number}"
        path = Path(teacher)
        if path.is_dir():
            rows.add_bundle(who, "teacher", open_bundle_folder(path, trust), None)
        elif path.is_file() or not re.match(r"\w+(:|$)", teacher) or path.suffix:
            rows.add_checkpoint(who, "teacher", path)
        else:
            rows.add_untrained(who, "teacher", teacher, imgsz)
    for who, path in zip(_names([path.stem for path in peers]), peers, strict=True):
        rows.add_foreign(who, path, imgsz)
    names = _names([bundle.path.stem for bundle in bundles]) if len(bundles) > 1 else ["student"]
    for number, (who, bundle) in enumerate(zip(names, bundles, strict=False)):
        rows.add_bundle(who, "student", bundle, None if number else student)
    if settings.backends and not rows.planned and not rows.skipped:
        raise InputError(
            f"Expected a row in {' or '.join(settings.backends)}, but these networks have none; "
            "leave out --backend to see all."
        )
    return rows


def _names(stems: Sequence[str]) -> list[str]:
    """Return one name each: the stem, with its place where it stands for several."""
    return [
        stem if stems.count(stem) == 1 else f"{stem} {index}" for index, stem in enumerate(stems, 1)
    ]


def _with_activations(cost: Complexity, graph: Complexity | None) -> Complexity:
    """Return what the module costs, with what only its graph tells."""
    if graph is None:
        return cost
    return cost.model_copy(update={"activation_bytes": graph.activation_bytes})


def _size(bundle: Bundle, name: str) -> int:
    names = (name, f"{name[:-4]}.bin") if name.endswith(".xml") else (name,)
    return sum(bundle.manifest.files[part].size for part in names)
