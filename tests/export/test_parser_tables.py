"""The filter against TensorRT's operator tables, on graphs of one node."""

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kmrcnn.export.parser_tables import check_model, find_problems, read_tables

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def model_of(node, inputs, outputs, constants=(), opset=17, domains=()):
    """inputs and outputs: {name: (dtype, shape)}; constants: {name: array}."""
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
        [helper.make_tensor_value_info(name, *spec) for name, spec in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in dict(constants).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets)


def one_input(operator, dtype=FLOAT, result=None, **attributes):
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    return model_of(node, {"x": (dtype, [2, 3])}, {"y": (result or dtype, [2, 3])})


def test_plain_operator_passes():
    assert find_problems(one_input("Relu")) == []
    check_model(one_input("Relu"))


def test_tables_know_what_the_versions_brought():
    tables = read_tables()
    assert tables["versions"] == ["8.5", "8.6", "10.1"]
    assert tables["operators"]["Mod"][0] is None and tables["operators"]["Mod"][1]
    assert tables["operators"]["RoiAlign"][0] == "fh"
    assert "NonExisting" not in tables["operators"]


def test_operator_of_later_versions_is_named_with_the_version():
    assert find_problems(one_input("IsInf", result=TensorProto.BOOL)) == [
        "IsInf is not in TensorRT 8.5"
    ]


def test_unknown_operator_and_foreign_domain_are_refused():
    node = helper.make_node("EfficientNMS_TRT", ["x"], ["y"], domain="nvidia")
    model = model_of(node, {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, domains=["nvidia"])
    assert find_problems(model) == ["nvidia.EfficientNMS_TRT is no standard operator"]
    model.graph.node[0].domain = ""
    with pytest.raises(ValueError, match="EfficientNMS_TRT is not in TensorRT 8.5"):
        check_model(model)


def test_operator_of_variable_size_is_refused():
    assert find_problems(one_input("NonZero", result=INT64)) == ["NonZero has no fixed size"]


@pytest.mark.parametrize(
    ("dtype", "problems"),
    [
        (INT32, ["ReduceMax of INT32 is not in TensorRT 8.5"]),
        (INT64, ["ReduceMax of INT64 is not in TensorRT 8.5"]),
        (TensorProto.DOUBLE, ["ReduceMax of FP64 is not in TensorRT 8.5"]),
    ],
)
def test_types_are_checked_per_version(dtype, problems):
    found = find_problems(one_input("ReduceMax", dtype, axes=[1], keepdims=1))
    assert found[:1] == problems
    assert any("10.1" in problem for problem in found) == (dtype == TensorProto.DOUBLE)


def test_int64_counts_as_int32_where_the_parser_narrows_it():
    assert find_problems(one_input("Neg", INT64)) == find_problems(one_input("Neg", INT32))


@pytest.mark.parametrize(("number", "refused"), [(3840, False), (3841, True)])
def test_top_k_is_limited(number, refused):
    import numpy as np

    model = model_of(
        helper.make_node("TopK", ["x", "k"], ["values", "index"]),
        {"x": (FLOAT, [1, 5000])},
        {"values": (FLOAT, [1, number]), "index": (INT64, [1, number])},
        {"k": np.array([number])},
    )
    assert find_problems(model) == ([f"TopK takes at most 3840, not {number}"] if refused else [])


def test_top_k_must_be_constant():
    model = model_of(
        helper.make_node("TopK", ["x", "k"], ["values", "index"]),
        {"x": (FLOAT, [1, 9]), "k": (INT64, [1])},
        {"values": (FLOAT, None), "index": (INT64, None)},
    )
    assert find_problems(model) == ["TopK needs a constant K"]


def test_roi_align_needs_every_attribute():
    node = helper.make_node("RoiAlign", ["x", "boxes", "images"], ["y"], output_height=7)
    model = model_of(
        node,
        {"x": (FLOAT, [1, 2, 8, 8]), "boxes": (FLOAT, [3, 4]), "images": (INT64, [3])},
        {"y": (FLOAT, None)},
    )
    (problem,) = find_problems(model)
    assert "sampling_ratio" in problem and "output_height" not in problem


def test_opset_above_the_parser_is_refused():
    node = helper.make_node("Relu", ["x"], ["y"])
    model = model_of(node, {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, opset=18)
    assert find_problems(model) == [
        "opset 18 is above 17 of TensorRT 8.5",
        "opset 18 is above 17 of TensorRT 8.6",
    ]
    assert onnx.defs.onnx_opset_version() >= 18
