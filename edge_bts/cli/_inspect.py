"""``edge-bts inspect``: what a bundle or an ONNX file is, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_bts.cli import _options as opt

if TYPE_CHECKING:
    from edge_bts.bundle import Bundle
    from edge_bts.export.lint import Finding

_DEVICE = "model.onnx"
_LINTERS = ("tensorrt",)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect")(inspect)


def inspect(
    path: Annotated[Path, typer.Argument(help="Bundle NAME.ebts, or an ONNX file of anybody.")],
    lint: Annotated[
        str | None,
        typer.Option("--lint", help="tensorrt: check the ONNX against TensorRT's rules for INT8."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --lint: what is merely slow fails too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    trust: opt.Trust = None,
    allow_unsigned: opt.AllowUnsigned = False,
) -> None:
    """Show what a bundle or an ONNX file holds; nothing of it is run.

    With --lint every broken rule is named with its node; exit code 3 if a device would refuse the
    graph or compute it differently. TensorRT itself is not needed.
    """
    from edge_bts.errors import InputError

    if lint is not None and lint not in _LINTERS:
        raise InputError(f"Expected --lint {' or '.join(_LINTERS)}, but got {lint!r}.")
    if path.is_dir():
        from edge_bts.bundle import open_bundle_folder
        from edge_bts.signing import find_trust

        bundle = open_bundle_folder(path, find_trust(trust or (), allow_unsigned=allow_unsigned))
        record = _of_bundle(bundle)
        model = _onnx_of(bundle) if lint else None
    else:
        model = _linter().read_onnx(path)
        record = {"file": str(path), **_of_onnx(model)}
    findings: list[Finding] = []
    if lint:
        linter = _linter()
        findings = linter.lint(model)
        record["lint"] = [
            {
                "rule": finding.rule.id,
                "level": finding.rule.level,
                "node": finding.node,
                "came": finding.came,
                "expected": f"a graph that {finding.rule.says}",
                "source": finding.rule.source,
            }
            for finding in findings
        ]
        record["rules"] = len(linter.RULES)
    if as_json:
        print(json.dumps(record, indent=2))
    else:
        _print(record)
    _judge(findings, strict)


def _judge(findings: list[Finding], strict: bool) -> None:
    from edge_bts.errors import EnvironmentMismatchError

    broken = [f for f in findings if strict or f.rule.level == "error"]
    if broken:
        ids = list(dict.fromkeys(finding.rule.id for finding in broken))
        raise EnvironmentMismatchError(
            f"Expected a graph that keeps the rules of TensorRT, but it breaks {len(ids)} of them "
            f"at {len(broken)} places ({', '.join(ids)}); mend what the list names and export it "
            "again."
        )


def _of_bundle(bundle: Bundle) -> dict[str, Any]:
    """Check every file's hash and return what the manifest says."""
    bundle.verify()
    return {
        "bundle": str(bundle.path),
        "manifest_sha256": bundle.manifest_sha256,
        "signature": bundle.maker.doubt or f"by {bundle.maker.signer}, a trusted key",
        **bundle.manifest.model_dump(mode="json"),
    }


def _onnx_of(bundle: Bundle) -> Any:
    from edge_bts.errors import InputError

    if _DEVICE not in bundle.manifest.files:
        raise InputError(
            f"Expected a bundle with {_DEVICE}, what TensorRT builds, but {bundle.path} "
            f"({bundle.manifest.precision}) has none; pass the path of an ONNX file in it."
        )
    return _linter().parse_onnx(bundle.read(_DEVICE), _DEVICE)


def _linter() -> Any:
    from edge_bts.extras import need_extra

    need_extra("export", "onnx")
    from edge_bts.export import lint

    return lint


def _of_onnx(model: Any) -> dict[str, Any]:
    from collections import Counter
    from math import prod

    import onnx

    types = onnx.TensorProto.DataType.Name
    graph = model.graph

    def ends(values: Any) -> dict[str, str]:
        found = {}
        for value in values:
            tensor = value.type.tensor_type
            sizes = [str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim]
            found[value.name] = f"{types(tensor.elem_type).lower()} ({', '.join(sizes)})"
        return found

    weights = Counter[str]()
    for tensor in graph.initializer:
        weights[types(tensor.data_type).lower()] += prod(tensor.dims)
    return {
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": int(model.ir_version),
        "opsets": {entry.domain or "ai.onnx": int(entry.version) for entry in model.opset_import},
        "inputs": ends(graph.input),
        "outputs": ends(graph.output),
        "constants": dict(sorted(weights.items())),
        "operators": dict(sorted(Counter(str(node.op_type) for node in graph.node).items())),
    }


def _print(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in record.items():
        if key not in ("lint", "rules"):
            table.add_row(key.replace("_", " "), _cell(key, value))
    console.print(table)
    if "lint" not in record:
        return
    found = record["lint"]
    if not found:
        console.print(f"\nTensorRT lint: all {record['rules']} rules are kept.")
        return
    listed = Table(title="TensorRT lint", title_justify="left")
    for head in ("level", "rule", "node", "came", "expected", "source"):
        listed.add_column(head, overflow="fold")
    for row in found:
        listed.add_row(
            *(row[key] for key in ("level", "rule", "node", "came", "expected", "source"))
        )
    console.print("", listed)


def _cell(key: str, value: Any) -> str:
    if key == "files":
        rows = (f"{n}  {e['size']} bytes  {e['sha256'][:12]}" for n, e in value.items())
        return "\n".join(rows)
    if key == "gates":
        from edge_bts.manifest import Gate

        return "\n".join(f"{name}: {Gate.model_validate(gate)}" for name, gate in value.items())
    if isinstance(value, dict):
        # Settings of a whole training are for --json.
        return "\n".join(f"{k}: {v}" for k, v in value.items() if not isinstance(v, dict))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
