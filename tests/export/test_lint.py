"""The linter for TensorRT: it takes our graphs, and names rule and node of every planted defect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edge_bts.cli import app
from edge_bts.errors import EnvironmentMismatchError, InputError
from edge_bts.export import lint as linter
from edge_bts.export.environment import quiet
from edge_bts.export.lint import RULES, Finding, lint, read_onnx
from edge_bts.export.onnx_codes import store_codes
from edge_bts.export.onnx_graph import onnx_from_model, onnx_from_quantized
from edge_bts.export.onnx_half import half_from_onnx

SIZE = 64


@pytest.fixture(scope="module")
def ours(workshop: Any) -> dict[str, Any]:
    """What we export."""
    pairs = onnx_from_quantized(workshop.quantized, SIZE, 19)
    reference = onnx_from_model(workshop.folded, SIZE, 19)
    return {
        "device": half_from_onnx(pairs),
        "fp16": half_from_onnx(reference),
        "fp32": reference,
        "codes": store_codes(pairs),
    }


class Small:
    """A quantized graph of two convolutions, a skip and a Concat that keeps every rule.

    x -> Q/DQ -> conv1 -> Relu -> Q/DQ -> conv2 -> Add(conv2, Q/DQ of Relu) -> Q/DQ -> Concat(with
    the same) -> y; 16 channels, opset 19, float16 throughout. Tests break one thing each.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.values: dict[str, Any] = {}
        self.shape: list[Any] = [1, 16, 8, 8]
        self.float: Any = np.float16
        for name in ("conv1", "conv2"):
            self.values[f"{name}.weight"] = rng.normal(0, 0.1, (16, 16, 3, 3)).astype(np.float16)
            self.values[f"{name}.bias"] = np.zeros(16, np.float16)
            self.pair(f"{name}.weight", f"{name}.w", channels=16)
        self.pair("x", "x_dq")
        self.add("Conv", "conv1", ["x_dq", "conv1.w", "conv1.bias"], "c1", pads=[1] * 4)
        self.add("Relu", "relu", ["c1"], "r")
        self.pair("r", "r_dq")
        self.add("Conv", "conv2", ["r_dq", "conv2.w", "conv2.bias"], "c2", pads=[1] * 4)
        self.add("Add", "add", ["c2", "r_dq"], "s")
        self.pair("s", "s_dq")
        self.add("Concat", "concat", ["s_dq", "r_dq"], "y", axis=1)
        self.opset = 19
        self.output = "y"

    def add(self, kind: str, name: str, inputs: list[str], output: str, **options: Any) -> None:
        """Add a node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **options))

    def pair(self, source: str, target: str, channels: int = 0) -> None:
        """Quantize ``source`` and dequantize it into ``target``."""
        shape: tuple[int, ...] = (channels,) if channels else ()
        self.values[f"{target}.scale"] = np.full(shape, 0.01, self.float)
        self.values[f"{target}.zero"] = np.zeros(shape, np.int8)
        names = [f"{target}.scale", f"{target}.zero"]
        options = {"axis": 0} if channels else {}
        self.add("QuantizeLinear", f"{target}.Q", [source, *names], f"{target}.q", **options)
        self.add("DequantizeLinear", f"{target}.DQ", [f"{target}.q", *names], target, **options)

    def node(self, name: str) -> Any:
        """Return a node by name."""
        return next(node for node in self.nodes if node.name == name)

    def insert(self, before: str, node: Any) -> None:
        """Put ``node`` before another one."""
        self.nodes.insert(self.nodes.index(self.node(before)), node)

    def model(self) -> Any:
        """Return the ModelProto."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.float))
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("x", kind, self.shape)],
            [helper.make_tensor_value_info(self.output, kind, [1, 32, *self.shape[2:]])],
            [numpy_helper.from_array(value, name) for name, value in self.values.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _id(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def broken(model: Any, level: str | None = None) -> dict[str, list[str]]:
    """Return the nodes by broken rule."""
    found: dict[str, list[str]] = {}
    for finding in lint(model):
        if level in (None, finding.rule.level):
            found.setdefault(finding.rule.id, []).append(finding.node)
    return found


def test_the_device_graph_keeps_every_rule(ours: dict[str, Any]) -> None:
    """What TensorRT shall build breaks no rule, not even a slow one."""
    assert broken(ours["device"]) == {}
    assert broken(ours["fp16"]) == {}


def test_the_other_graphs_would_be_refused_by_nobody(ours: dict[str, Any]) -> None:
    """The float reference and ONNX Runtime's file break no rule of level error."""
    for name in ("fp32", "codes"):
        assert broken(ours[name], "error") == {}
    assert set(broken(ours["codes"])) == {"half-outside"}


def test_the_small_graph_keeps_every_rule_but_one_scale() -> None:
    """Tests start from a clean graph."""
    small = Small()
    assert broken(small.model()) == {}


def _uint8(s: Small) -> None:
    s.values["r_dq.zero"] = np.zeros((), np.uint8)


def _offset(s: Small) -> None:
    s.values["r_dq.zero"] = np.full((), 3, np.int8)


def _no_zero(s: Small) -> None:
    # A missing zero point is UINT8 for ONNX, so the pair goes without on both sides.
    for name in ("r_dq.Q", "r_dq.DQ"):
        del s.node(name).input[2]


def _zeros_of_other_shape(s: Small) -> None:
    s.values["conv1.w.zero"] = np.zeros(8, np.int8)


def _computed_scale(s: Small) -> None:
    s.values["half"] = np.full((), 0.5, np.float16)
    s.insert("r_dq.Q", helper.make_node("Mul", ["r_dq.scale", "half"], ["m"], name="mul"))
    for name in ("r_dq.Q", "r_dq.DQ"):
        s.node(name).input[1] = "m"


def _scale_zero(s: Small) -> None:
    s.values["conv2.w.scale"][5] = 0


def _scale_negative(s: Small) -> None:
    s.values["r_dq.scale"] = np.full((), -0.01, np.float16)


def _scale_infinite(s: Small) -> None:
    s.values["r_dq.scale"] = np.full((), np.inf, np.float16)


def _scale_tiny(s: Small) -> None:
    s.values["conv2.w.scale"][5] = 1e-6


def _activation_by_channel(s: Small) -> None:
    s.values["r_dq.scale"] = np.full(16, 0.01, np.float16)
    s.values["r_dq.zero"] = np.zeros(16, np.int8)


def _axis_1(s: Small) -> None:
    for name in ("conv2.w.Q", "conv2.w.DQ"):
        s.node(name).attribute[0].i = 1


def _transposed(s: Small) -> None:
    s.node("conv2").op_type = "ConvTranspose"


def _groups(s: Small) -> None:
    s.values["conv2.weight"] = np.zeros((16, 2, 3, 3), np.float16)
    s.node("conv2").attribute.append(helper.make_attribute("group", 8))


def _codes_read_by_cast(s: Small) -> None:
    s.add("Cast", "cast", ["r_dq.q"], "z", to=TensorProto.FLOAT16)


def _dead_quantizer(s: Small) -> None:
    names = ["r", "r_dq.scale", "r_dq.zero"]
    s.insert("r_dq.DQ", helper.make_node("QuantizeLinear", names, ["dead"], name="dead"))


def _dequantized_from_cast(s: Small) -> None:
    cast = helper.make_node("Cast", ["r"], ["codes"], name="cast", to=TensorProto.INT8)
    s.insert("r_dq.DQ", cast)
    s.node("r_dq.DQ").input[0] = "codes"


def _two_scales(s: Small) -> None:
    s.values["other"] = np.full((), 0.02, np.float16)
    s.node("r_dq.DQ").input[1] = "other"


def _half_scales_too_early(s: Small) -> None:
    s.opset = 17


def _new_opset(s: Small) -> None:
    s.opset = 21


def _old_opset(s: Small) -> None:
    s.opset = 12


def _custom(s: Small) -> None:
    s.node("relu").domain = "com.example"


def _qlinear(s: Small) -> None:
    s.node("conv2").op_type = "ConvInteger"


def _dynamic(s: Small) -> None:
    s.shape = [1, 16, "h", "w"]


def _bias(s: Small) -> None:
    s.values["conv2.codes"] = np.zeros(16, np.int32)
    s.values["conv2.step"] = np.full((), 0.01, np.float16)
    names = ["conv2.codes", "conv2.step"]
    dq = helper.make_node("DequantizeLinear", names, ["b"], name="bias.DQ")
    s.insert("conv2", dq)
    s.node("conv2").input[2] = "b"


def _infinite_weight(s: Small) -> None:
    s.values["conv1.bias"][3] = np.inf


def _missing_input(s: Small) -> None:
    s.node("relu").input[0] = "nowhere"


def _float_data(s: Small) -> None:
    s.insert("r_dq.Q", helper.make_node("Cast", ["r"], ["r32"], name="cast", to=TensorProto.FLOAT))
    s.node("r_dq.Q").input[0] = "r32"


ERRORS: list[tuple[Callable[[Small], None], str, str]] = [
    (_uint8, "zero-point-int8", "r_dq.Q"),
    (_offset, "zero-point-zero", "r_dq.Q"),
    (_no_zero, "zero-point-given", "r_dq.Q"),
    (_zeros_of_other_shape, "zero-point-shape", "conv1.w.Q"),
    (_computed_scale, "scale-constant", "r_dq.Q"),
    (_scale_zero, "scale-positive", "conv2.w.Q"),
    (_scale_negative, "scale-positive", "r_dq.Q"),
    (_scale_infinite, "scale-positive", "r_dq.Q"),
    (_scale_tiny, "scale-half", "conv2.w.Q"),
    (_activation_by_channel, "activation-per-tensor", "r_dq.Q"),
    (_axis_1, "weight-axis", "conv2.w.DQ"),
    (_transposed, "transposed-per-tensor", "conv2"),
    (_groups, "group-of-four", "conv2"),
    (_codes_read_by_cast, "pair-whole", "r_dq.Q"),
    (_dead_quantizer, "pair-whole", "dead"),
    (_dequantized_from_cast, "pair-whole", "r_dq.DQ"),
    (_two_scales, "pair-scale", "r_dq.DQ"),
    (_half_scales_too_early, "valid", "graph"),
    (_new_opset, "opset", "opset_import"),
    (_old_opset, "valid", "graph"),
    (_custom, "domain", "relu"),
    (_qlinear, "valid", "graph"),
    (_dynamic, "static-shape", "x"),
    (_bias, "bias-float", "conv2"),
    (_infinite_weight, "half-range", "conv1.bias"),
    (_missing_input, "valid", "graph"),
    (_float_data, "valid", "graph"),
]


@pytest.mark.parametrize(
    ("damage", "rule", "node"), ERRORS, ids=lambda v: getattr(v, "__name__", v)
)
def test_planted_defects_are_named(damage: Callable[[Small], None], rule: str, node: str) -> None:
    """Each defect that a device would refuse is an error at its node."""
    small = Small()
    damage(small)
    assert node in broken(small.model(), "error").get(rule, [])


def _concat_scales(s: Small) -> None:
    s.values["s_dq.scale"] = np.full((), 0.02, np.float16)


def _concat_half_quantized(s: Small) -> None:
    s.node("concat").input[1] = "r"


def _both_sides_of_add(s: Small) -> None:
    s.pair("c2", "c2_dq")
    pair = [s.nodes.pop(), s.nodes.pop()]
    for node in reversed(pair):
        s.insert("add", node)
    s.node("add").input[0] = "c2_dq"


def _weight_by_tensor(s: Small) -> None:
    for part, kind in (("scale", np.float16), ("zero", np.int8)):
        s.values[f"conv2.w.{part}"] = np.full((), 0.01 if part == "scale" else 0, kind)
    for name in ("conv2.w.Q", "conv2.w.DQ"):
        del s.node(name).attribute[:]


def _narrow(s: Small) -> None:
    s.values["conv1.weight"] = np.zeros((16, 12, 3, 3), np.float16)
    s.shape = [1, 12, 8, 8]


def _sigmoid(s: Small) -> None:
    s.insert("concat", helper.make_node("Sigmoid", ["s_dq"], ["g"], name="sigmoid"))
    s.node("concat").input[0] = "g"


def _norm(s: Small) -> None:
    for name in ("a", "b", "c", "d"):
        s.values[name] = np.ones(16, np.float16)
    inputs = ["s_dq", "a", "b", "c", "d"]
    s.insert("concat", helper.make_node("BatchNormalization", inputs, ["n"], name="norm"))
    s.node("concat").input[0] = "n"


def _identity(s: Small) -> None:
    s.insert("concat", helper.make_node("Identity", ["s_dq"], ["i"], name="same"))
    s.node("concat").input[0] = "i"


def _nameless(s: Small) -> None:
    s.node("relu").name = ""


def _same_name(s: Small) -> None:
    s.node("relu").name = "add"


SLOW: list[tuple[Callable[[Small], None], str, str]] = [
    (_concat_scales, "concat-scale", "concat"),
    (_concat_half_quantized, "concat-scale", "concat"),
    (_both_sides_of_add, "add-one-side", "add"),
    (_weight_by_tensor, "weight-per-channel", "conv2"),
    (_narrow, "channels", "conv1"),
    (_sigmoid, "float-operators", "sigmoid"),
    (_norm, "norm-fused", "norm"),
    (_identity, "identity", "same"),
    (_nameless, "names", "graph"),
    (_same_name, "names", "add"),
]


@pytest.mark.parametrize(("damage", "rule", "node"), SLOW, ids=_id)
def test_what_costs_time_is_named(damage: Callable[[Small], None], rule: str, node: str) -> None:
    """Each defect that a device pays for is slow at its node, and none is an error."""
    small = Small()
    damage(small)
    assert node in broken(small.model(), "slow").get(rule, [])
    assert broken(small.model(), "error") == {}


def test_every_rule_has_a_defect_that_breaks_it() -> None:
    """No rule stands untried; the four that need other files or types are tried below."""
    planted = {rule for _, rule, _ in (*ERRORS, *SLOW)}
    alone = {"external-data", "int8-dialect", "scale-type", "half-outside"}
    assert planted | alone == {rule.id for rule in RULES}
    assert planted & alone == set()


def test_external_data_are_refused_and_not_followed(tmp_path: Path) -> None:
    """A tensor whose data lie in another file is named; the file is not looked for."""
    model = Small().model()
    tensor = next(t for t in model.graph.initializer if t.name == "conv1.weight")
    onnx.external_data_helper.set_external_data(tensor, "secret.bin")
    tensor.ClearField("raw_data")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert broken(read_onnx(tmp_path / "a.onnx"))["external-data"] == ["conv1.weight"]


def test_other_int8_dialects_are_refused() -> None:
    """DynamicQuantizeLinear is valid ONNX that TensorRT's parser does not know."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="DQ"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    found = broken(model, "error")
    assert found["int8-dialect"] == ["dynamic"]
    assert found["scale-constant"] == ["DQ"]


def test_scales_of_another_float_type_are_refused() -> None:
    """From opset 23 on ONNX lets an FP16 scale stand with float32 data; TensorRT 10.3 does not."""
    small = Small()
    small.opset, small.float = 23, np.float32
    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            small.values[f"{name}.{part}"] = small.values[f"{name}.{part}"].astype(np.float32)
    for name, value in small.values.items():
        if name.endswith(".scale"):
            small.values[name] = value.astype(np.float32)
    small.values["r_dq.scale"] = np.full((), 0.01, np.float16)
    small.node("r_dq.DQ").attribute.append(
        helper.make_attribute("output_dtype", int(TensorProto.FLOAT))
    )
    model = small.model()
    model.ir_version = 11
    assert broken(model, "error")["scale-type"] == ["r_dq.Q"]


def test_the_default_of_nncf_is_refused(workshop: Any, tmp_path: Path) -> None:
    """NNCF's own settings and export give UINT8 activations, which TensorRT does not take."""
    import nncf

    from edge_bts.export.quantize import use_onnx_pairs

    with quiet():
        default = nncf.quantize(workshop.folded, nncf.Dataset(workshop.images))
        path = tmp_path / "nncf.onnx"
        torch.onnx.export(
            use_onnx_pairs(default),
            (workshop.images[0],),
            str(path),
            dynamo=False,
            opset_version=17,
        )
    found = broken(read_onnx(path))
    assert len(found["zero-point-int8"]) > 10
    assert "add-one-side" in found


def test_the_command_shows_and_judges(ours: dict[str, Any], tmp_path: Path) -> None:
    """Inspect prints what the file is; --lint fails on errors, --strict on what is slow too."""
    runner = CliRunner()
    good, slow, bad = (tmp_path / f"{name}.onnx" for name in ("good", "slow", "bad"))
    good.write_bytes(ours["device"].SerializeToString())
    slow.write_bytes(ours["codes"].SerializeToString())
    small = Small()
    _uint8(small)
    bad.write_bytes(small.model().SerializeToString())
    shown = runner.invoke(app, ["inspect", str(good), "--lint", "tensorrt"])
    assert shown.exit_code == 0, shown.output
    assert f"all {len(RULES)} rules are kept" in shown.output
    assert "edge-bts" in shown.output
    assert runner.invoke(app, ["inspect", str(slow), "--lint", "tensorrt"]).exit_code == 0
    strict = runner.invoke(app, ["inspect", str(slow), "--lint", "tensorrt", "--strict"])
    assert isinstance(strict.exception, EnvironmentMismatchError)
    failed = runner.invoke(app, ["inspect", str(bad), "--lint", "tensorrt", "--json"])
    assert isinstance(failed.exception, EnvironmentMismatchError)
    assert "zero-point-int8" in str(failed.exception)
    rows = json.loads(failed.stdout)["lint"]
    assert {row["node"] for row in rows if row["rule"] == "zero-point-int8"} >= {"r_dq.Q"}


def test_what_is_no_onnx_is_one_sentence(tmp_path: Path) -> None:
    """A missing file, a text and an empty file name the path and no traceback."""
    text = tmp_path / "text.onnx"
    text.write_text("hello")
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    for path in (tmp_path / "none.onnx", text, empty):
        with pytest.raises(InputError, match=path.name):
            read_onnx(path)


def test_a_finding_is_one_sentence() -> None:
    """The line has rule, expectation, node and what came."""
    finding = Finding(linter.RULES[0], "conv", "nothing")
    assert str(finding).startswith("valid: expected a graph that is valid ONNX")
    assert str(finding).endswith("but at conv: nothing")
