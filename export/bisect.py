"""Which tensor first differs between two executors of one network.

An executor fuses what nobody looks at, so a tensor that is made an output can change what is
computed after it. One tensor at a time is therefore looked at, outputs of convolutions in the
order of execution. Bisection finds one that differs after one that does not, and from there the
way leads up the graph to one that differs though all that feed it do not: some ten compilations
instead of one for each layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edge_bts.runtime._onnxruntime import open_session
from edge_bts.runtime._openvino import compile_model, read_model
from edge_bts.runtime.backend import IrBytes

__all__ = ["Divergence", "Look", "bisect", "convolutions", "look_into_ir", "look_into_onnx"]

Look = Callable[[str, NDArray[np.float32]], NDArray[np.float32]]
"""Name of a convolution's output in the ONNX graph, and an image: that tensor, (1, C, h, w)."""


class Divergence(BaseModel):
    """Where two executors part.

    Attributes:
        name: The rung.
        against: The rung that it is compared with.
        tolerance: Relative error above which a tensor counts as different.
        tensor: The first such tensor, by its name in the ONNX graph; None if there is none.
        error: Its relative error, ``‖a - b‖ / ‖b‖``; of the last tensor where there is none.
        feeding: The largest relative error among the tensors that feed it; 0 at the input.
        position: Place of ``tensor`` among the convolutions, from 1.
        convolutions: How many can be looked at.
        looked_at: How many were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    against: str
    tolerance: float
    tensor: str | None
    error: float
    feeding: float
    position: int
    convolutions: int
    looked_at: int


def bisect(
    tensors: Mapping[str, Sequence[str]],
    look: Look,
    reference: Look,
    image: NDArray[np.float32],
    *,
    name: str,
    against: str,
    tolerance: float,
    thorough: bool = False,
) -> Divergence:
    """Find a tensor whose error is above ``tolerance`` though those that feed it keep it.

    Of several such places one is found. If the last tensor keeps the tolerance, none is looked
    for, or with ``thorough`` all tensors are looked at.

    Args:
        tensors: Outputs of convolutions in the order of execution, at least one, each with those
            that feed it; see :func:`convolutions`.
        look: The executor in question.
        reference: The other one.
        image: Normalised, (1, 1, S, S) float32.
        name: Of the rung.
        against: Of the rung that it is compared with.
        tolerance: Relative error, above 0.
        thorough: The outputs are known to differ.
    """
    errors: dict[str, float] = {}

    def differs(tensor: str) -> bool:
        if tensor not in errors:
            came, expected = (f(tensor, image) for f in (look, reference))
            apart = came.ravel() - expected.ravel()  # a rewritten IR may hold another shape
            difference = float(np.linalg.norm(apart.astype(np.float64)))
            size = float(np.linalg.norm(expected.ravel().astype(np.float64)))
            errors[tensor] = difference / max(size, np.finfo(np.float32).tiny)
        return not errors[tensor] <= tolerance  # NaN differs

    names = list(tensors)
    found, different = names[-1], True
    if differs(found):
        low, high = -1, len(names) - 1  # low keeps the tolerance, high does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if differs(names[middle]) else (middle, high)
        found = names[high]
    else:
        found = next((n for n in names if thorough and differs(n)), found)
        different = differs(found)
    if different:
        # The one before it may lie on another branch.
        while (up := next((t for t in tensors[found] if differs(t)), None)) is not None:
            found = up
    return Divergence(
        name=name,
        against=against,
        tolerance=tolerance,
        tensor=found if different else None,
        error=errors[found],
        feeding=max((errors.get(tensor, 0.0) for tensor in tensors[found]), default=0.0),
        position=names.index(found) + 1,
        convolutions=len(names),
        looked_at=len(errors),
    )


def convolutions(content: bytes) -> dict[str, list[str]]:
    """Return the outputs of an ONNX file's convolutions, each with those that feed it.

    In the order of execution. One feeds another if no third lies between. The package ``onnx``
    must be installed.
    """
    import onnx

    found: dict[str, list[str]] = {}
    reaching: dict[str, list[str]] = {}  # for each tensor the convolutions that reach it
    for node in onnx.load_from_string(content).graph.node:
        feeding = dict.fromkeys(c for name in node.input for c in reaching.get(name, ()))
        if node.op_type == "Conv":
            found[str(node.output[0])] = list(feeding)
            feeding = dict.fromkeys([str(node.output[0])])
        reaching.update({name: list(feeding) for name in node.output})
    return found


def look_into_onnx(content: bytes, *, optimize: bool) -> Look:
    """Return how to read a tensor of an ONNX file in ONNX Runtime."""
    import onnx

    model = onnx.load_from_string(content)

    def look(tensor: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = type(model)()
        changed.CopyFrom(model)
        changed.graph.output.add().name = tensor  # ONNX Runtime infers its type
        session = open_session(changed.SerializeToString(), optimize=optimize)
        value: NDArray[Any] = session.run([tensor], {"image": image})[0]
        return value.astype(np.float32)

    return look


def look_into_ir(content: bytes, ir: IrBytes | bytes) -> tuple[list[str], Look]:
    """Return the convolutions of an ONNX file that OpenVINO has too, and how to read one.

    What OpenVINO read from ONNX keeps the names. An IR made from a traced module has names of its
    own; there a convolution is known by its bias, which no other one has, and one without a bias,
    or with that of another, is left out.

    Args:
        content: The ONNX file.
        ir: What OpenVINO reads, of the same network.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(content).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    keys: dict[str, bytes] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            bias = constants.get(node.input[2]) if len(node.input) > 2 else None
            key = b"" if bias is None else _key(numpy_helper.to_array(bias))
            keys[str(node.output[0])] = key
    shared = {key for key, count in Counter(keys.values()).items() if count > 1}
    ports = _ports(read_model(ir))
    handles: dict[str, str | bytes] = {}
    for tensor, key in keys.items():
        if tensor in ports:
            handles[tensor] = tensor
        elif key and key not in shared and key in ports:
            handles[tensor] = key

    def look(tensor: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
        model = read_model(ir)
        model.add_outputs([_ports(model)[handles[tensor]]])
        request = compile_model(model).create_infer_request()
        request.infer({0: image})
        return np.array(request.get_output_tensor(1).data, np.float32)

    return list(handles), look


def _ports(model: Any) -> dict[str | bytes, Any]:
    """Return outputs of nodes by tensor name, and where a bias is added by the bias."""
    found: dict[str | bytes, Any] = {}
    ambiguous: set[bytes] = set()
    for node in model.get_ordered_ops():
        if node.get_output_size() != 1:
            continue
        found.update(dict.fromkeys(node.output(0).get_names(), node.output(0)))
        if node.get_type_name() != "Add":
            continue
        sources = [node.input_value(port).get_node() for port in range(2)]
        parted = any(_is_flat_convolution(source) for source in sources)
        if not parted and not any(s.get_type_name() == "Convolution" for s in sources):
            continue
        for source in sources:
            if source.get_type_name() == "Convert":
                source = source.input_value(0).get_node()
            if source.get_type_name() == "Constant":
                key = _key(source.data.ravel()[:1] if parted else source.data)
                if key in found:
                    ambiguous.add(key)
                found[key] = node.output(0)
    return {name: port for name, port in found.items() if name not in ambiguous}


def _is_flat_convolution(node: Any) -> bool:
    """Whether it is the flat view that :func:`~edge_bts.export.openvino_ir.part_sigmoids` makes."""
    if node.get_type_name() != "Reshape":
        return False
    return bool(node.input_value(0).get_node().get_type_name() == "Convolution")


def _key(bias: NDArray[Any]) -> bytes:
    # In the narrowest type that one of the files may hold.
    return np.asarray(bias, np.float16).ravel().tobytes()
