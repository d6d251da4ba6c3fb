"""Conversions of TensorFlow's operations that replace tf2onnx's own."""

from __future__ import annotations

import numpy as np

LARGEST = np.float32(np.finfo(np.float32).max)


def handlers() -> dict:
    """`custom_op_handlers` of `tf2onnx.convert.from_function`."""
    return {"SelectV2": (_where, []), "Select": (_where, []), "IsFinite": (_is_finite, [])}


def _where(graph, node, name, args):
    """`Where`; tf2onnx multiplies by the condition, and 0 times what is not finite is no number."""
    node.type = "Where"


def _is_finite(graph, node, name, args):
    """|x| < largest float: TensorRT 8.5 has no `IsInf`."""
    shape, values, output = graph.get_shape(node.output[0]), node.input[0], node.output[0]
    graph.remove_node(node.name)
    magnitude = graph.make_node("Abs", [values], name=f"{name}_magnitude").output[0]
    largest = graph.make_const(f"{name}_largest", LARGEST).output[0]
    graph.make_node(
        "Less",
        [magnitude, largest],
        outputs=[output],
        name=f"{name}_less",
        shapes=[shape],
        dtypes=[9],
    )
