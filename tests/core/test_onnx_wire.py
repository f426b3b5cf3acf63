"""ONNX files before a runtime sees them: what the walk refuses, against the onnx package."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_bts import onnx_wire
from edge_bts.errors import EdgeBtsError, InputError, IntegrityError
from edge_bts.onnx_wire import OPERATORS, check_graph

onnx = pytest.importorskip("onnx")
SHAPE = (1, 1, 4, 4)


def graph_of(*nodes: Any, name: str = "g") -> Any:
    """A graph of nodes from image to probability, with one weight."""
    image, probability = (
        onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, SHAPE)
        for end in ("image", "probability")
    )
    weight = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")
    return onnx.helper.make_graph(list(nodes), name, [image], [probability], [weight])


def model() -> Any:
    """A small network with every kind of part that ours have."""
    node = onnx.helper.make_node
    constant = onnx.numpy_helper.from_array(np.ones(SHAPE, np.float32), "c")
    graph = graph_of(
        node("Conv", ["image", "w"], ["a"], name="conv", pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        node("Constant", [], ["c"], value=constant),
        node("Mul", ["a", "c"], ["b"], doc_string="text"),
        node("LeakyRelu", ["b"], ["d"], alpha=0.1),
        node("Sigmoid", ["d"], ["probability"]),
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    made.ir_version = 9
    onnx.helper.set_model_props(made, {"key": "value"})
    onnx.checker.check_model(made)
    return made


def breaks_a_rule(parsed: Any) -> bool:
    """The same policy on what the onnx package parsed."""
    tensors = list(parsed.graph.initializer)
    for node in parsed.graph.node:
        if node.domain or node.op_type not in OPERATORS:
            return True
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.ref_attr_name:
                return True
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                return True
            tensors += [attribute.t, *attribute.tensors]
    return (
        any(tensor.external_data or tensor.data_location for tensor in tensors)
        or any(entry.domain for entry in parsed.opset_import)
        or bool(parsed.functions or parsed.training_info or parsed.graph.sparse_initializer)
    )


def test_a_plain_network_passes() -> None:
    """Attributes, constants, names and metadata of an ordinary graph are fine."""
    made = model()
    check_graph(made.SerializeToString(), "model.onnx")
    assert not breaks_a_rule(made)


def set_external(tensor: Any, location: str) -> None:
    """Let a tensor's data lie in another file."""
    onnx.external_data_helper.set_external_data(tensor, location)


def plant(made: Any, what: str) -> None:
    """Put into a model what must be found in it."""
    node, helper = made.graph.node, onnx.helper
    if what == "external data":
        set_external(made.graph.initializer[0], "../w.bin")
    elif what == "address":
        set_external(made.graph.initializer[0], "*/_ORT_MEM_ADDR_/*")
    elif what == "location":
        made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    elif what == "external constant":
        set_external(node[1].attribute[0].t, "w.bin")
    elif what == "function":
        body = [helper.make_node("Relu", ["x"], ["y"])]
        opsets = [helper.make_opsetid("", 19)]
        made.functions.append(helper.make_function("own", "F", ["x"], ["y"], body, opsets))
    elif what == "sub-graph":
        node[2].attribute.append(helper.make_attribute("body", graph_of()))
    elif what == "sub-graphs":
        node[2].attribute.append(helper.make_attribute("bodies", [graph_of()]))
    elif what == "domain":
        node[4].domain = "com.microsoft"
    elif what == "imported domain":
        made.opset_import.append(helper.make_opsetid("com.example", 1))
    elif what == "training":
        made.training_info.add().algorithm.CopyFrom(graph_of())
    else:
        node[3].attribute[0].ref_attr_name = "alpha"


PLANTS = {
    "external data": "external data",
    "address": "external data",
    "location": "place of its data",
    "external constant": "external data",
    "function": "functions",
    "sub-graph": "sub-graph",
    "sub-graphs": "sub-graphs",
    "domain": "'com.microsoft'",
    "imported domain": "'com.example'",
    "training": "training",
    "reference": "function",
}


@pytest.mark.parametrize(("what", "named"), PLANTS.items())
def test_what_reaches_beyond_the_file_is_an_integrity_error(what: str, named: str) -> None:
    """Data elsewhere, functions, sub-graphs and foreign domains are found wherever they stand."""
    made = model()
    plant(made, what)
    assert breaks_a_rule(made)
    with pytest.raises(IntegrityError, match=named):
        check_graph(made.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan", "RandomNormal", "Gather", "Evil", ""])
def test_operators_that_are_not_listed_are_refused(operator: str) -> None:
    """Control flow, chance, indices from data, unknown names: no part of a network of ours."""
    made = model()
    made.graph.node[3].op_type = operator
    with pytest.raises(InputError, match=f"'{operator}'"):
        check_graph(made.SerializeToString(), "model.onnx")


def test_every_listed_operator_is_one_of_onnx() -> None:
    """A slip of the pen in the list would allow nothing, or the wrong thing."""
    assert all(onnx.defs.has(name) for name in OPERATORS)


def test_a_node_has_one_operator() -> None:
    """None, or two of which parsers keep the last, is no node."""
    made = model()
    made.graph.node[3].ClearField("op_type")
    with pytest.raises(InputError, match="0 operators"):
        check_graph(made.SerializeToString(), "model.onnx")
    twice = b"\x22\x04Relu" * 2
    with pytest.raises(InputError, match="2 operators"):
        check_graph(b"\x3a" + bytes([len(twice) + 2]) + b"\x0a" + bytes([len(twice)]) + twice, "m")


def test_sparse_data_are_not_known() -> None:
    """Fields that networks of ours never use are refused, whatever they may mean."""
    made = model()
    made.graph.sparse_initializer.add()
    with pytest.raises(InputError, match="field 15"):
        check_graph(made.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "0 graphs"),
        (b"no model at all", "wire type"),
        (b"\x08", "ends within a number"),
        (b"\x08" + b"\xff" * 10, "64 bits"),
        (b"\x3a\x05\x00", "ends within a field"),
        (b"\x3a\xff\xff\xff\xff\x0f", "ends within a field"),
        (b"\x3b\x3c", "wire type 3"),
        (b"\x38\x00", "field 7 of wire type 0"),
        (b"\x02\x00", "number 0"),
        (b"\xfa\xff\xff\xff\x0f\x00", "is not known"),
        (b"\x3a\x00\x3a\x00", "2 graphs"),
    ],
)
def test_bytes_that_are_no_model_are_refused(content: bytes, named: str) -> None:
    """Cuts, huge lengths, groups, wrong types and unknown fields: one sentence each."""
    with pytest.raises(InputError, match=named):
        check_graph(content, "model.onnx")


def test_the_number_of_fields_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a million empty fields does not keep the reader busy."""
    monkeypatch.setattr(onnx_wire, "MAX_FIELDS", 1000)
    with pytest.raises(InputError, match="more than 1000 fields"):
        check_graph(b"\x08\x00" * 1001, "model.onnx")


def accepted(content: bytes) -> bool:
    """Whether the walk accepts; anything but an error of ours fails the test."""
    try:
        check_graph(content, "model.onnx")
    except EdgeBtsError:
        return False
    return True


def parsed(content: bytes) -> Any | None:
    """What the onnx package reads, None where it refuses."""
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_from_string(content)
    except DecodeError:
        return None


def test_every_truncation_is_refused_or_harmless() -> None:
    """What is accepted of a cut model breaks no rule in the eyes of the real parser."""
    content = model().SerializeToString()
    kept = [n for n in range(len(content)) if accepted(content[:n])]
    assert len(kept) < 10
    for length in kept:
        assert (seen := parsed(content[:length])) is not None
        assert not breaks_a_rule(seen)


def test_no_damage_hides_a_part_from_the_walk() -> None:
    """Of 20,000 damaged models none is accepted in which the real parser sees a forbidden part."""
    rng = random.Random(0)
    sources = [model().SerializeToString()]
    for what in PLANTS:
        made = model()
        plant(made, what)
        sources.append(made.SerializeToString())
    passed = 0
    for trial in range(20_000):
        content = bytearray(sources[trial % len(sources)])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(content))
            kind = rng.randrange(4)
            if kind == 0:
                content[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del content[at]
            else:
                content.insert(at, rng.randrange(256))
        if accepted(bytes(content)):
            passed += 1
            seen = parsed(bytes(content))
            assert seen is None or not breaks_a_rule(seen), bytes(content).hex()
    assert passed > 100


def test_field_numbers_are_those_of_onnx() -> None:
    """Every number stands for the field that the walk takes it for; none that could hold more."""
    harmless = ("input", "output", "value_info", "metadata_props")  # types and texts
    messages = {
        "ModelProto": onnx_wire._MODEL,
        "GraphProto": onnx_wire._GRAPH,
        "NodeProto": onnx_wire._NODE,
        "AttributeProto": onnx_wire._ATTRIBUTE,
        "TensorProto": onnx_wire._TENSOR,
        "OperatorSetIdProto": onnx_wire._OPSET,
    }
    kinds = {id(message): name for name, message in messages.items()}
    for name, message in messages.items():
        fields = getattr(onnx, name).DESCRIPTOR.fields_by_number
        for number, inner in message.walk.items():
            assert fields[number].message_type.name == kinds[id(inner)]
        for number in message.skip:
            assert fields[number].message_type is None or fields[number].name in harmless
        for number, what in message.text.items():
            assert fields[number].name == {"operator": "op_type", "domain": "domain"}[what]
        assert set(message.forbid) <= set(fields)
    names = {
        number: field.name for number, field in onnx.TensorProto.DESCRIPTOR.fields_by_number.items()
    }
    assert (names[13], names[14]) == ("external_data", "data_location")


def test_planted_files_are_what_runtimes_would_open(tmp_path: Path) -> None:
    """The planted external data are real: the onnx package follows them when it loads the file."""
    made = model()
    (tmp_path / "w.bin").write_bytes(np.full((1, 1, 3, 3), 7, np.float32).tobytes())
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], "w.bin")
    made.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    loaded = onnx.load(tmp_path / "model.onnx")
    assert (onnx.numpy_helper.to_array(loaded.graph.initializer[0]) == 7).all()
    with pytest.raises(IntegrityError, match="external data"):
        check_graph((tmp_path / "model.onnx").read_bytes(), "model.onnx")
