"""What an ONNX file may hold before a runtime's parser sees it, read from its wire format.

Parsers of ONNX have followed external data out of the folder, and run functions, sub-graphs and
operators of other domains that nobody reviewed. A network of ours needs none of it, so a file that
has any is refused. The device has no onnx package: this walks the protobuf encoding itself, one
pass over the few messages that matter, no recursion, a cap on the number of fields.

Only fields that are named here may occur: protobuf's rule to skip what one does not know would
let a newer parser see what this one did not. Field numbers: onnx.proto of ONNX 1.15 to 1.23; wire
format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from edge_bts.errors import InputError, IntegrityError

__all__ = ["OPERATORS", "check_graph"]

# Arithmetic on tensors of static shape. No control flow, no random numbers, no strings or
# sequences, and nothing that takes indices from data.
# fmt: off
OPERATORS = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "Constant", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "Elu",
    "Erf", "Exp", "Flatten", "Floor", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "LeakyRelu", "Log", "MatMul", "Max", "MaxPool", "Mean", "Min",
    "Mish", "Mul", "Neg", "PRelu", "Pad", "Pow", "QuantizeLinear", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize",
    "Round", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "SpaceToDepth", "Split",
    "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze",
})
# fmt: on

MAX_FIELDS = 1 << 20
"""A network of ours has some ten thousand; more is an attempt to keep the reader busy."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Message:
    """Fields of a message by number: what is skipped, read as text, walked, or forbidden."""

    skip: frozenset[int]
    text: dict[int, str]
    walk: dict[int, _Message]
    forbid: dict[int, str]


def _message(
    *skip: int,
    text: dict[int, str] | None = None,
    walk: dict[int, _Message] | None = None,
    forbid: dict[int, str] | None = None,
) -> _Message:
    return _Message(frozenset(skip), text or {}, walk or {}, forbid or {})


_TENSOR = _message(
    *(1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 16),  # dims, type, numbers, name, doc, metadata
    forbid={13: "external data", 14: "a place of its data"},
)
_ATTRIBUTE = _message(
    *(1, 2, 3, 4, 7, 8, 9, 13, 20),  # name, numbers, strings, doc, type
    walk={5: _TENSOR, 10: _TENSOR},
    forbid={6: "a sub-graph", 11: "sub-graphs", 21: "an attribute of a function"},
)
_NODE = _message(
    *(1, 2, 3, 6, 9),  # inputs, outputs, name, doc, metadata
    text={4: "operator", 7: "domain"},
    walk={5: _ATTRIBUTE},
)
_GRAPH = _message(
    *(2, 10, 11, 12, 13, 16),  # name, doc, inputs, outputs, types between, metadata
    walk={1: _NODE, 5: _TENSOR},
)
_OPSET = _message(2, text={1: "domain"})
_MODEL = _message(
    *(1, 2, 3, 4, 5, 6, 14),  # versions, producer, doc, metadata
    walk={7: _GRAPH, 8: _OPSET},
    forbid={20: "training steps", 25: "functions"},
)


def check_graph(content: bytes, name: str, operators: Collection[str] | None = OPERATORS) -> None:
    """Refuse an ONNX file that reaches beyond its own bytes and the standard operators above.

    Args:
        content: The bytes that will be given to the runtime.
        name: Of the file, for errors.
        operators: What may occur; None: all of ONNX's own domain, for files that no device opens.

    Raises:
        IntegrityError: External data, functions, sub-graphs, another domain than ONNX's own:
            parts that the bytes which were checked do not hold.
        InputError: An operator that is not in ``operators``, or bytes that are no ONNX model.
    """
    pending = [(_MODEL, memoryview(content))]
    graphs = fields = 0
    while pending:
        message, part = pending.pop()
        graphs += message is _GRAPH
        found = 0
        for number, wire, value in _fields(part, name):
            fields += 1
            if fields > MAX_FIELDS:
                raise _damaged(name, f"has more than {MAX_FIELDS} fields")
            if number in message.forbid:
                raise _outside(name, message.forbid[number])
            if number in message.skip:
                continue
            if wire != _BYTES or not (number in message.text or number in message.walk):
                raise _damaged(name, f"has a field {number} of wire type {wire} that is not known")
            if number in message.walk:
                pending.append((message.walk[number], value))
            elif message.text[number] == "domain":
                _check_domain(_text(value), name)
            else:
                found += 1
                if operators is not None and _text(value) not in operators:
                    raise _unknown(name, _text(value))
        if message is _NODE and found != 1:
            raise _damaged(name, f"has a node with {found} operators")
    if graphs != 1:
        raise _damaged(name, f"holds {graphs} graphs")


def _text(value: memoryview) -> str:
    # No name that is allowed is longer.
    return bytes(value[:64]).decode("utf-8", "replace")


def _check_domain(domain: str, name: str) -> None:
    if domain:
        raise _outside(name, f"the operator domain {domain!r}")


def _fields(part: memoryview, name: str) -> Iterator[tuple[int, int, memoryview]]:
    """Yield number, wire type and value of each field of a message; of a varint, its bytes."""
    at, end = 0, len(part)
    while at < end:
        tag, at = _varint(part, at, name)
        number, wire = tag >> 3, tag & 7
        start = at
        if wire == _VARINT:
            _, at = _varint(part, at, name)
        elif wire == _BYTES:
            length, start = _varint(part, at, name)
            at = start + length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            raise _damaged(name, f"has a field of wire type {wire}")
        if number == 0 or at > end:
            raise _damaged(name, "ends within a field" if number else "has a field of number 0")
        yield number, wire, part[start:at]


def _varint(part: memoryview, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(part):
            raise _damaged(name, "ends within a number")
        byte = part[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 1 << 64:
            return value, at
    raise _damaged(name, "has a number of more than 64 bits")


def _unknown(name: str, operator: str) -> InputError:
    return InputError(
        f"Expected {name} to use operators that edge-bts knows, but it has {operator!r}; "
        "build the network from others."
    )


def _outside(name: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"Expected {name} to be a graph of standard operators with all its data inside, but it has "
        f"{what}, which was not checked; export it again with `edge-bts export`."
    )


def _damaged(name: str, what: str) -> InputError:
    return InputError(
        f"Expected {name} to be an ONNX model, but it {what}; export it again with "
        "`edge-bts export`."
    )
