"""What TensorRT's ONNX parser accepts, from its own tables: a filter, not a proof.

The tables are those of TensorRT 8.5 and 8.6 (JetPack 5) and 10.1 (JetPack 6).
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

MAX_TOP_K = 3840
# Control flow, and operators whose output size depends on values: the parser takes some of them,
# but a graph of fixed shapes is what every version runs well.
DYNAMIC_OPERATORS = ("If", "Loop", "NonMaxSuppression", "NonZero", "Scan")
ROI_ALIGN_ATTRIBUTES = {
    "coordinate_transformation_mode",
    "mode",
    "output_height",
    "output_width",
    "sampling_ratio",
    "spatial_scale",
}
TYPE_NAMES = {  # of onnx.TensorProto to those of the tables
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "DOUBLE": "FP64",
}


def check_model(model: Any) -> None:
    """Passes if every operator of an ONNX model is in all tables.

    Raises:
        ValueError: Lists what is not.
    """
    found = find_problems(model)
    if found:
        raise ValueError("TensorRT's parser would refuse the graph: " + "; ".join(found))


def find_problems(model: Any) -> list[str]:
    """What TensorRT's parser does not accept in an ONNX model, each kind once.

    Args:
        model: An `onnx.ModelProto`.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = _Graph(inferred.graph)
    tables = read_tables()
    problems = _opset_problems(model, tables)
    for node in inferred.graph.node:
        if node.domain not in ("", "ai.onnx"):
            problems.append(f"{node.domain}.{node.op_type} is no standard operator")
        elif node.op_type in DYNAMIC_OPERATORS:
            problems.append(f"{node.op_type} has no fixed size")
        else:
            problems += _table_problems(node, graph, tables)
            problems += _rule_problems(node, graph)
    return list(dict.fromkeys(problems))


def read_tables() -> dict[str, Any]:
    """{"versions": [...], "opsets": [...], "types": {letter: name}, "operators": {name: [letters,
    one string per version]}}.
    """
    text = resources.files("kmrcnn.export").joinpath("parser_tables.json").read_text()
    return json.loads(text)


class _Graph:
    """Look-ups of a graph."""

    def __init__(self, graph: Any):
        from onnx import TensorProto, numpy_helper

        self._values = {t.name: t for t in graph.initializer}
        self._to_array = numpy_helper.to_array
        self._types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for value in (*graph.value_info, *graph.input, *graph.output):
            self._types[value.name] = value.type.tensor_type.elem_type
        for node in graph.node:
            if node.op_type == "Constant":
                self._values[node.output[0]] = node.attribute[0].t
                self._types[node.output[0]] = node.attribute[0].t.data_type
        self._type_name = TensorProto.DataType.Name

    def type_of(self, name: str) -> str | None:
        """Element type as the tables call it; None if it is not known."""
        if not self._types.get(name):
            return None
        onnx_name = self._type_name(self._types[name])
        return TYPE_NAMES.get(onnx_name, onnx_name)

    def is_constant(self, name: str) -> bool:
        """Whether it is an initializer or a `Constant`."""
        return name in self._values

    def constant(self, name: str):
        """Its NumPy value."""
        return self._to_array(self._values[name])


def _opset_problems(model: Any, tables: dict) -> list[str]:
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return [
        f"opset {opset} is above {highest} of TensorRT {version}"
        for version, highest in zip(tables["versions"], tables["opsets"])
        if opset > highest
    ]


def _table_problems(node: Any, graph: _Graph, tables: dict) -> list[str]:
    """The operator, and the type of its data, which is that of the first input (of the second in
    `Where`, after the condition).
    """
    accepted = tables["operators"].get(node.op_type, [None] * len(tables["versions"]))
    data = [name for name in node.input if name][:2]
    dtype = graph.type_of(data[-1] if node.op_type == "Where" else data[0]) if data else None
    also = "INT32" if dtype == "INT64" else dtype  # older parsers narrow it
    problems = []
    for version, letters in zip(tables["versions"], accepted):
        if letters is None:
            problems.append(f"{node.op_type} is not in TensorRT {version}")
            continue
        names = {tables["types"][letter] for letter in letters}
        if dtype is not None and not names & {dtype, also}:
            problems.append(f"{node.op_type} of {dtype} is not in TensorRT {version}")
    return problems


def _rule_problems(node: Any, graph: _Graph) -> list[str]:
    """Restrictions that the tables have in words."""
    if node.op_type == "TopK":
        if not graph.is_constant(node.input[1]):
            return ["TopK needs a constant K"]
        most = int(graph.constant(node.input[1]).reshape(-1)[0])
        return [f"TopK takes at most {MAX_TOP_K}, not {most}"] if most > MAX_TOP_K else []
    if node.op_type == "RoiAlign":
        missing = ROI_ALIGN_ATTRIBUTES - {attribute.name for attribute in node.attribute}
        return [f"RoiAlign needs {', '.join(sorted(missing))} spelled out"] if missing else []
    axes_place = _place_of_axes(node.op_type)
    if axes_place is not None and len(node.input) > axes_place and node.input[axes_place]:
        if not graph.is_constant(node.input[axes_place]):
            return [f"{node.op_type} needs constant axes"]
    return []


def _place_of_axes(operator: str) -> int | None:
    if operator == "Slice":
        return 3
    if operator.startswith("Reduce") or operator == "CumSum":
        return 1
    return None
