"""What TensorRT 10.3 to 11 and its INT8 kernels ask of an ONNX graph, rule by rule.

The rules are read from headers, parser sources and documentation; none has been tried on a real
engine by us. ``error``: a parser refuses the graph, or two executors may compute different things.
``slow``: it builds, and pays in kernels, casts or padded channels.

Sources, as rules name them: *NvInfer.h* v10.3.0 and v11.1 (IQuantizeLayer, IDequantizeLayer,
setNbGroups); *onnx-tensorrt* onnxOpImporters.cpp and docs/operators.md; *ModelOpt* (NVIDIA
TensorRT-Model-Optimizer: modelopt/onnx/quantization); *ONNX* operator schemas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_bts.errors import InputError
from edge_bts.manifest import MAX_FILE_BYTES

__all__ = ["RULES", "Finding", "Rule", "lint", "parse_onnx", "read_onnx"]

OPSETS = (13, 20)
"""First opset with scales by channel; last one that the parser of TensorRT 10.0 reads."""
HALF_SCALES_OPSET = 19
MIN_HALF = 2.0**-14
"""Smallest normal FP16 number: smaller scales lose digits, or become 0."""

_CONVOLUTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# onnx-tensorrt docs/operators.md: not supported. INT8 is spoken in Q/DQ pairs alone.
_OTHER_DIALECTS = (
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
)
Level = Literal["error", "slow"]
Broken = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """One thing that a graph must keep to.

    Attributes:
        id: Its name, e.g. ``zero-point-int8``; stable.
        level: ``error`` or ``slow``.
        says: What must hold, as the end of "Expected a graph that ...".
        source: Where it comes from.
        check: Yields the node (or tensor) that breaks it and what came instead.
    """

    id: str
    level: Level
    says: str
    source: str
    check: Callable[[_Graph], Broken]


@dataclass(frozen=True)
class Finding:
    """A rule broken at a node; ``came`` is what stands there."""

    rule: Rule
    node: str
    came: str

    def __str__(self) -> str:
        """Return one sentence."""
        rule = self.rule
        return f"{rule.id}: expected a graph that {rule.says}, but at {self.node}: {self.came}"


RULES: list[Rule] = []


def lint(model: Any) -> list[Finding]:
    """Check an ``onnx.ModelProto`` against every rule.

    Where the graph is not even valid ONNX, the rules about its content are not asked.

    Returns:
        What is broken, errors first, in the order of :data:`RULES`; empty: nothing.
    """
    graph = _Graph(model)
    found = []
    for rule in RULES:
        found += [Finding(rule, node, came) for node, came in rule.check(graph)]
        if found and rule.id == "valid":
            break
    return sorted(found, key=lambda finding: finding.rule.level)


def read_onnx(path: str | Path) -> Any:
    """Read an ONNX file of anybody; external data are not followed.

    Raises:
        InputError: No file, too large a one, or no ONNX.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Expected an ONNX file at {path}, but there is none.")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise InputError(
            f"Expected an ONNX file of at most {MAX_FILE_BYTES} bytes, but {path} has {size}."
        )
    return parse_onnx(path.read_bytes(), path)


def parse_onnx(content: bytes, name: str | Path) -> Any:
    """Parse the bytes of an ONNX file; ``name`` is for the error.

    Raises:
        InputError: No ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_from_string(content)
    except DecodeError:
        model = None
    if model is None or not model.graph.node:
        raise InputError(f"Expected {name} to be an ONNX model, but it holds no graph.")
    return model


def _rule(
    id: str, level: Level, says: str, source: str
) -> Callable[[Callable[[_Graph], Broken]], Callable[[_Graph], Broken]]:
    def add(check: Callable[[_Graph], Broken]) -> Callable[[_Graph], Broken]:
        RULES.append(Rule(id, level, says, source, check))
        return check

    return add


class _Graph:
    """A graph with the maps that rules ask; nodes keep their ONNX objects."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes: list[Any] = list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    @cached_property
    def opset(self) -> int:
        found = [entry.version for entry in self.model.opset_import if entry.domain in _STANDARD]
        return int(found[0]) if found else 0

    @cached_property
    def values(self) -> dict[str, NDArray[Any]]:
        """Constants: initializers, Constant nodes, and what an Identity makes of them."""
        from onnx import numpy_helper

        found = {
            tensor.name: np.asarray(numpy_helper.to_array(tensor))
            for tensor in self.model.graph.initializer
            if not tensor.external_data
        }
        for node in self.nodes:
            if node.op_type == "Constant" and (value := _attribute(node, "value")) is not None:
                found[node.output[0]] = np.asarray(numpy_helper.to_array(value))
            elif node.op_type == "Identity" and node.input[0] in found:
                found[node.output[0]] = found[node.input[0]]
        return found

    @cached_property
    def types(self) -> dict[str, int]:
        """ONNX element type by tensor, as far as shape inference finds it."""
        import onnx

        try:
            inferred = onnx.shape_inference.infer_shapes(self.model).graph
        except onnx.shape_inference.InferenceError:  # of operators that ONNX does not know
            inferred = self.model.graph
        infos = (*inferred.input, *inferred.value_info, *inferred.output)
        found = {info.name: int(info.type.tensor_type.elem_type) for info in infos}
        return found | {t.name: int(t.data_type) for t in self.model.graph.initializer}

    @cached_property
    def pairs(self) -> list[Any]:
        """QuantizeLinear and DequantizeLinear nodes."""
        return [n for n in self.nodes if n.op_type in ("QuantizeLinear", "DequantizeLinear")]

    def before(self, name: str) -> Any | None:
        """Return the node that makes tensor ``name``; None: an input or a constant."""
        return self.producer.get(name)

    def is_weight(self, pair: Any) -> bool:
        """Say whether a Q or DQ works on a constant."""
        if pair.input[0] in self.values:
            return True
        source = self.before(pair.input[0])
        return (
            source is not None
            and source.op_type == "QuantizeLinear"
            and source.input[0] in self.values
        )

    def dequantized(self, name: str) -> Any | None:
        """Return the DequantizeLinear that makes ``name``, if one does."""
        node = self.before(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def weight_of(self, node: Any) -> NDArray[Any] | None:
        """Return the constant weight of a convolution, through its Q/DQ pair."""
        name = node.input[1]
        while name not in self.values:
            source = self.before(name)
            if source is None or source.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                return None
            name = source.input[0]
        return self.values[name]

    def in_int8(self) -> Iterator[Any]:
        """Yield the convolutions and products whose data and weights are both dequantized."""
        for node in self.nodes:
            if node.op_type in _CONVOLUTIONS and all(map(self.dequantized, node.input[:2])):
                yield node

    def scale(self, pair: Any) -> NDArray[Any] | None:
        """Return the constant scale of a pair."""
        return self.values.get(pair.input[1])

    def zero(self, pair: Any) -> NDArray[Any] | None:
        """Return the constant zero point of a pair."""
        return self.values.get(pair.input[2]) if len(pair.input) > 2 else None


_STANDARD = ("", "ai.onnx")


def _name(node: Any) -> str:
    return str(node.name or f"{node.op_type} -> {node.output[0] if node.output else '?'}")


def _attribute(node: Any, name: str) -> Any | None:
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None


def _type_name(code: int) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(code)).lower()


@_rule("valid", "error", "is valid ONNX with consistent shapes and types", "ONNX checker")
def _valid(graph: _Graph) -> Broken:
    import onnx

    if any(t.external_data for t in graph.model.graph.initializer) or any(
        node.domain not in _STANDARD for node in graph.nodes
    ):
        return  # the checker would look for files, or for schemas that it does not have
    try:
        onnx.checker.check_model(graph.model, full_check=True)
        onnx.shape_inference.infer_shapes(graph.model, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        yield "graph", " ".join(str(error).split())[:300]


@_rule("external-data", "error", "holds its data itself", "a bundle's file is hashed whole")
def _external(graph: _Graph) -> Broken:
    for tensor in graph.model.graph.initializer:
        if tensor.external_data:
            yield str(tensor.name), "its data lie in another file"


@_rule("domain", "error", "has standard operators only", "onnx-tensorrt: others need a plugin")
def _domain(graph: _Graph) -> Broken:
    for node in graph.nodes:
        if node.domain not in _STANDARD:
            yield _name(node), f"{node.domain}:{node.op_type}"


@_rule(
    "int8-dialect",
    "error",
    "says INT8 by QuantizeLinear and DequantizeLinear",
    "onnx-tensorrt docs/operators.md",
)
def _dialect(graph: _Graph) -> Broken:
    for node in graph.nodes:
        if node.op_type in _OTHER_DIALECTS:
            yield _name(node), node.op_type


@_rule(
    "opset",
    "error",
    f"imports an opset from {OPSETS[0]} to {OPSETS[1]}",
    "ONNX: scales by channel from 13; onnx-tensorrt 10.0: up to 20",
)
def _opset(graph: _Graph) -> Broken:
    if not OPSETS[0] <= graph.opset <= OPSETS[1]:
        yield "opset_import", str(graph.opset or "none")


@_rule(
    "static-shape",
    "error",
    "has fixed input and output shapes",
    "our choice: an engine is built for one shape, without profiles",
)
def _static(graph: _Graph) -> Broken:
    for value in (*graph.model.graph.input, *graph.model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if not sizes or any(size.dim_value <= 0 for size in sizes):
            shape = ", ".join(str(size.dim_value or size.dim_param or "?") for size in sizes)
            yield str(value.name), f"shape ({shape})"


@_rule(
    "zero-point-given",
    "error",
    "gives every zero point",
    "ONNX: a missing one is UINT8; NvInfer.h: a missing one is INT8",
)
def _zero_given(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        if len(pair.input) < 3 or not pair.input[2]:
            yield _name(pair), "no zero point"


@_rule(
    "zero-point-int8",
    "error",
    "quantizes to INT8",
    "onnx-tensorrt: UINT8 is refused but for DLA",
)
def _zero_type(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        zero = graph.zero(pair)
        if zero is not None and zero.dtype != np.int8 and zero.dtype != np.int32:
            yield _name(pair), f"{zero.dtype} zero point"


@_rule("zero-point-zero", "error", "is symmetric: zero points of 0", "NvInfer.h IQuantizeLayer")
def _zero_is_zero(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        zero = graph.zero(pair)
        if zero is not None and zero.any():
            yield _name(pair), f"zero point {zero.reshape(-1)[np.flatnonzero(zero)[0]]}"


@_rule(
    "zero-point-shape",
    "error",
    "has as many zero points as scales",
    "NvInfer.h IQuantizeLayer",
)
def _zero_shape(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        zero, scale = graph.zero(pair), graph.scale(pair)
        if zero is not None and scale is not None and zero.size != scale.size:
            yield _name(pair), f"{zero.size} zero points for {scale.size} scales"


@_rule("scale-constant", "error", "has constant scales", "NvInfer.h: a build-time constant")
def _scale_constant(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        if graph.scale(pair) is None:
            yield _name(pair), f"its scale {pair.input[1]} is computed"


@_rule(
    "scale-positive",
    "error",
    "has finite scales above 0",
    "onnx-tensorrt: Scale coefficients must all be positive",
)
def _scale_positive(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        scale = graph.scale(pair)
        if scale is not None and not (np.isfinite(scale).all() and (scale > 0).all()):
            yield _name(pair), f"lowest scale {float(scale.min()):g}"


@_rule(
    "scale-half",
    "error",
    f"has scales of at least {MIN_HALF:.1e}, which FP16 holds with all digits",
    "IEEE 754 binary16: smallest normal number",
)
def _scale_half(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        scale = graph.scale(pair)
        if scale is not None and ((scale > 0) & (scale < MIN_HALF)).any():
            yield _name(pair), f"scale {float(scale[scale > 0].min()):.3g}"


@_rule(
    "activation-per-tensor",
    "error",
    "scales activations by one number",
    "NvInfer.h: scales by channel are for weights",
)
def _per_tensor(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        scale = graph.scale(pair)
        if scale is not None and scale.size > 1 and not graph.is_weight(pair):
            yield _name(pair), f"{scale.size} scales for an activation"


@_rule(
    "weight-axis",
    "error",
    "scales weights along axis 0, one scale an output channel",
    "NvInfer.h: K of KCRS; the parser checks the number alone",
)
def _weight_axis(graph: _Graph) -> Broken:
    for node in graph.nodes:
        pair = graph.dequantized(node.input[1]) if node.op_type == "Conv" else None
        scale = None if pair is None else graph.scale(pair)
        if pair is None or scale is None or scale.size == 1:
            continue
        axis = _attribute(pair, "axis")
        axis = 1 if axis is None else axis
        weight = graph.weight_of(node)
        if axis != 0:
            yield _name(pair), f"axis {axis}"
        elif weight is not None and weight.shape[0] != scale.size:
            yield _name(pair), f"{scale.size} scales for {weight.shape[0]} output channels"


@_rule(
    "transposed-per-tensor",
    "error",
    "scales weights of ConvTranspose by one number",
    "TensorRT issue 1694: which axis is meant differs between tools",
)
def _transposed(graph: _Graph) -> Broken:
    for node in graph.nodes:
        pair = graph.dequantized(node.input[1]) if node.op_type == "ConvTranspose" else None
        scale = None if pair is None else graph.scale(pair)
        if scale is not None and scale.size > 1:
            yield _name(node), f"{scale.size} scales"


@_rule(
    "group-of-four",
    "error",
    "has a multiple of 4 channels in each group of an INT8 convolution",
    "NvInfer.h setNbGroups",
)
def _groups(graph: _Graph) -> Broken:
    for node in graph.in_int8():
        groups = _attribute(node, "group") or 1
        weight = graph.weight_of(node)
        if node.op_type != "Conv" or groups == 1 or weight is None:
            continue
        if weight.shape[0] == groups and weight.shape[1] == 1:
            continue  # depthwise has kernels of its own
        ins, outs = weight.shape[1], weight.shape[0] // groups
        if ins % 4 or outs % 4:
            yield _name(node), f"{ins} channels in and {outs} out in each of {groups} groups"


@_rule(
    "pair-whole",
    "error",
    "dequantizes what it quantizes, and nothing else reads INT8",
    "TensorRT: INT8 tensors live between Q and DQ",
)
def _whole(graph: _Graph) -> Broken:
    outputs = {value.name for value in graph.model.graph.output}
    for pair in graph.pairs:
        if pair.op_type == "QuantizeLinear":
            readers = graph.readers.get(pair.output[0], [])
            other = [n for n in readers if n.op_type not in ("DequantizeLinear", *_PASS_INT8)]
            if other or pair.output[0] in outputs or not readers:
                what = f"{other[0].op_type} {_name(other[0])}" if other else "no DequantizeLinear"
                yield _name(pair), f"{what} reads it"
        elif pair.input[0] not in graph.values:
            source = graph.before(pair.input[0])
            if source is None or source.op_type not in ("QuantizeLinear", *_PASS_INT8):
                yield _name(pair), f"it reads {'an input' if source is None else source.op_type}"


_PASS_INT8 = ("MaxPool", "Reshape", "Transpose", "Identity", "Concat", "Resize", "Pad")


@_rule(
    "pair-scale",
    "error",
    "quantizes and dequantizes a tensor by the same scale",
    "ONNX: else the pair changes every value, and executors that fuse it may not",
)
def _pair_scale(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        source = graph.before(pair.input[0]) if pair.op_type == "DequantizeLinear" else None
        if source is None or source.op_type != "QuantizeLinear":
            continue
        first, second = graph.scale(source), graph.scale(pair)
        if first is not None and second is not None and not np.array_equal(first, second):
            yield _name(pair), "another scale than its QuantizeLinear"


@_rule(
    "scale-type",
    "error",
    "gives scales the float type of the data, FP16 from opset 19 on",
    "NvInfer.h v10.3.0: Q input type equals scale type; ONNX: FP16 from 19",
)
def _scale_type(graph: _Graph) -> Broken:
    for pair in graph.pairs:
        scale = graph.scale(pair)
        if scale is None:
            continue
        if scale.dtype == np.float16 and graph.opset < HALF_SCALES_OPSET:
            yield _name(pair), f"FP16 scale in opset {graph.opset}"
        elif pair.op_type == "QuantizeLinear":
            of_data = graph.types.get(pair.input[0])
            if of_data in (_FLOAT, _HALF) and (of_data == _HALF) != (scale.dtype == np.float16):
                yield _name(pair), f"{scale.dtype} scale for {_type_name(of_data)} data"


_FLOAT, _HALF = 1, 10


@_rule(
    "half-range",
    "error",
    "has finite weights, within the range of FP16 where they are FP16",
    "IEEE 754 binary16",
)
def _finite(graph: _Graph) -> Broken:
    for name, value in graph.values.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            yield name, "a weight is infinite or no number"


@_rule("bias-float", "error", "keeps biases float", "ModelOpt: QuantizeBias=False")
def _bias(graph: _Graph) -> Broken:
    for node in graph.nodes:
        has_bias = node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2
        if has_bias and graph.dequantized(node.input[2]) is not None:
            yield _name(node), "its bias is dequantized"


@_rule(
    "concat-scale",
    "slow",
    "gives all inputs of a Concat one scale",
    "ModelOpt concat_elimination: others cost a kernel that requantizes",
)
def _concat(graph: _Graph) -> Broken:
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        pairs = [graph.dequantized(name) for name in node.input]
        found = [graph.scale(pair) for pair in pairs if pair is not None]
        scales = {float(s.reshape(-1)[0]) for s in found if s is not None and s.size == 1}
        if 0 < len(found) < len(pairs):
            yield _name(node), f"{len(found)} of {len(pairs)} inputs are quantized"
        elif len(scales) > 1:
            yield _name(node), f"scales {', '.join(f'{scale:.3g}' for scale in sorted(scales))}"


@_rule(
    "add-one-side",
    "slow",
    "quantizes the skip alone where a convolution is added to it",
    "ModelOpt: a pair between convolution and Add stops their fusion",
)
def _add(graph: _Graph) -> Broken:
    for node in graph.nodes:
        pairs = [graph.dequantized(name) for name in node.input] if node.op_type == "Add" else []
        if len(pairs) == 2 and all(pairs):
            sources = [graph.before(graph.before(pair.input[0]).input[0]) for pair in pairs]  # type: ignore[union-attr]
            if any(source is not None and source.op_type == "Conv" for source in sources):
                yield _name(node), "both inputs are quantized, one of them a convolution's output"


@_rule(
    "norm-fused",
    "slow",
    "has no pair between a convolution and its batch norm",
    "TensorRT folds Conv and BatchNormalization where nothing stands between",
)
def _norm(graph: _Graph) -> Broken:
    for node in graph.nodes:
        if node.op_type == "BatchNormalization" and graph.dequantized(node.input[0]) is not None:
            yield _name(node), "its input is quantized"


@_rule(
    "weight-per-channel",
    "slow",
    "scales weights of INT8 convolutions by channel",
    "accuracy, not speed: one range for all channels loses digits of the narrow ones",
)
def _per_channel(graph: _Graph) -> Broken:
    for node in graph.in_int8():
        pair = graph.dequantized(node.input[1]) if node.op_type == "Conv" else None
        scale = None if pair is None else graph.scale(pair)
        weight = graph.weight_of(node)
        if scale is not None and scale.size == 1 and weight is not None and weight.shape[0] > 1:
            yield _name(node), f"one scale for {weight.shape[0]} channels"


@_rule(
    "channels",
    "slow",
    "has at least 16 channels, a multiple of 8, on both sides of an INT8 convolution",
    "ModelOpt conv filter; NvInfer.h formats CHW32, HWC16: other widths are padded",
)
def _channels(graph: _Graph) -> Broken:
    for node in graph.in_int8():
        weight = graph.weight_of(node)
        if node.op_type != "Conv" or weight is None or (_attribute(node, "group") or 1) > 1:
            continue
        if any(n < 16 or n % 8 for n in weight.shape[:2]):
            yield _name(node), f"{weight.shape[1]} channels in, {weight.shape[0]} out"


@_rule(
    "float-operators",
    "slow",
    "keeps Sigmoid, Softmax, normalisation and linear Resize out of INT8",
    "ModelOpt: removed from the quantizable operators; onnx-tensorrt: float types only",
)
def _float_only(graph: _Graph) -> Broken:
    for node in graph.nodes:
        linear = node.op_type == "Resize" and _attribute(node, "mode") in (b"linear", b"cubic")
        if (linear or node.op_type in _FLOAT_OPERATORS) and graph.dequantized(node.input[0]):
            yield _name(node), f"{node.op_type} of a quantized tensor"


_FLOAT_OPERATORS = (
    "Sigmoid",
    "Softmax",
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
)


@_rule(
    "half-outside",
    "slow",
    "is FP16 outside its INT8 islands",
    "TensorRT, strongly typed: what is written float32 runs float32",
)
def _half_outside(graph: _Graph) -> Broken:
    if not graph.pairs:
        return
    singles = [
        node for node in graph.nodes if node.op_type == "Conv" and _is_single(graph, node.output[0])
    ]
    if singles:
        total = Counter(node.op_type for node in graph.nodes)["Conv"]
        yield _name(singles[0]), f"{len(singles)} of {total} convolutions give float32"


def _is_single(graph: _Graph, name: str) -> bool:
    return graph.types.get(name) == _FLOAT


@_rule("identity", "slow", "has no Identity", "litter of exporters; names of tensors drift by it")
def _identity(graph: _Graph) -> Broken:
    found = [node for node in graph.nodes if node.op_type == "Identity"]
    if found:
        yield _name(found[0]), f"{len(found)} in all"


@_rule(
    "names",
    "slow",
    "names every node, each differently",
    "engine reports and timing caches name nodes",
)
def _names(graph: _Graph) -> Broken:
    count = Counter(node.name for node in graph.nodes)
    if count[""]:
        yield "graph", f"{count['']} nodes without name"
    for name, times in count.items():
        if name and times > 1:
            yield str(name), f"{times} nodes of this name"
