"""Quantize and dequantize pairs around a convolution, and what is left alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kmrcnn.export.onnx import open_file
from kmrcnn.export.onnx_int8 import quantize

SIZE = (8, 12)


@pytest.fixture
def proto():
    """Channels first, a 3x3 convolution, and the sizes, which nothing computes with."""
    kernel = np.random.default_rng(0).normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["images"], ["x"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "kernel"], ["boxes"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Identity", ["image_sizes"], ["scores"], "same"),
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, *SIZE, 3)),
        helper.make_tensor_value_info("image_sizes", TensorProto.INT32, (1, 2)),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, 16, *SIZE)),
        helper.make_tensor_value_info("scores", TensorProto.INT32, (1, 2)),
    ]
    weights = [numpy_helper.from_array(kernel, "kernel")]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def canvases(number):
    rng = np.random.default_rng(1)
    for _ in range(number):
        yield rng.uniform(0, 255, (1, *SIZE, 3)).astype(np.float32), np.array([SIZE], np.int32)


def test_int8_is_near_and_the_model_itself_is_left_as_it_is(proto, tmp_path):
    before = proto.SerializeToString()
    quantized = quantize(proto, canvases(3), 1)
    assert proto.SerializeToString() == before
    makers = {name: node.op_type for node in quantized.graph.node for name in node.output}
    conv = next(node for node in quantized.graph.node if node.op_type == "Conv")
    assert [makers[name] for name in conv.input[:2]] == ["DequantizeLinear"] * 2
    images, sizes = next(canvases(1))
    results = []
    for name, model in (("exact", proto), ("int8", quantized)):
        onnx.save(model, tmp_path / f"{name}.onnx")
        results.append(open_file(tmp_path / f"{name}.onnx")(images, sizes)["boxes"])
    exact, found = results
    assert 0 < np.abs(found - exact).max() < 0.02 * np.abs(exact).max()
