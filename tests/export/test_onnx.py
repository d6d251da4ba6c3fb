"""ONNX files against the Keras model they come from, in ONNX Runtime."""

import dataclasses
import logging

import numpy as np
import onnx
import pytest
from skimage.data import coins

import kmrcnn
from kmrcnn.export import ArtefactPredictor, export
from kmrcnn.export.onnx import MAX_CANDIDATES, convert
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.parser_tables import DYNAMIC_OPERATORS, find_problems
from tests.export.against_keras import (
    batch_norms,
    c4,
    check_equal,
    check_export,
    check_unused_slots_are_zero,
    detect,
    detectron2_like,
    faster_rcnn_of_80_classes,
    largest_differences,
    parts_of_the_paper,
    torchvision_like,
)
from tests.tiny import tiny_config, tiny_model

CANVAS = (256, 352)


@pytest.fixture(scope="module")
def bundled():
    return kmrcnn.load_model("mask_rcnn_r18_coins", "bundled")


@pytest.fixture(scope="module")
def float32_folder(bundled, tmp_path_factory):
    path = tmp_path_factory.mktemp("float32") / "artefact"
    return export(bundled, path, format="onnx", image_size=CANVAS)


@pytest.fixture(scope="module")
def pictures(bundled, float32_folder):
    """Coins, a mirrored part of them, nothing, the coins again, and a row that is padding only:
    (5, H, W, 3) and sizes (5, 2).
    """
    picture = np.repeat(coins()[..., None], 3, axis=-1)
    to_canvas = ArtefactPredictor(float32_folder).to_canvas
    shown = (picture, picture[60:250, 300:40:-1], 0 * picture, picture)
    images, sizes = zip(*map(to_canvas, shown))
    padding = np.zeros_like(images[0]), np.zeros_like(sizes[0])
    return np.stack([*images, padding[0]]), np.stack([*sizes, padding[1]])


def test_float32_equals_keras(bundled, float32_folder, pictures):
    """Batches of 1, 2 and 5 pictures, one of them without coins, one without anything."""
    expected = detect(bundled, *pictures)
    assert expected["num_detections"][0] > 15
    assert expected["num_detections"][2] == expected["num_detections"][4] == 0
    artefact = ArtefactPredictor(float32_folder)
    for number in (1, 2, 5):
        found = artefact.run(*(values[:number] for values in pictures))
        check_equal(found, {name: values[:number] for name, values in expected.items()})
    check_unused_slots_are_zero(found)


def test_predictor_takes_pictures_of_any_size(bundled, float32_folder):
    picture = np.repeat(coins()[..., None], 3, axis=-1)
    detections = ArtefactPredictor(float32_folder).predict(picture)
    assert len(detections.boxes) > 15
    assert detections.masks.shape[1:] == picture.shape[:2]


def test_graph_is_plain_and_small(bundled, float32_folder):
    proto = onnx.load(float32_folder / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    operators = {node.op_type for node in proto.graph.node}
    assert not operators & {*DYNAMIC_OPERATORS, "Mod", "IsInf", "ScatterND", "PyFunc"}
    assert {node.domain for node in proto.graph.node} == {""}
    assert find_problems(proto) == []
    weights = sum(np.prod(weight.shape) * 4 for weight in bundled.weights)
    assert (float32_folder / "model.onnx").stat().st_size < 1.1 * weights


def test_inputs_and_outputs_are_as_the_metadata_says(float32_folder):
    metadata = ArtefactPredictor(float32_folder).metadata
    proto = onnx.load(float32_folder / "model.onnx")
    for kind, values in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
        shapes = {
            value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in values
        }
        assert shapes == {name: spec["shape"] for name, spec in metadata[kind].items()}
    assert metadata["batch_size"] is None and metadata["image_size"] == list(CANVAS)
    assert metadata["nms_candidates"] == MAX_CANDIDATES


@pytest.mark.slow
def test_float16_computes_in_float16_where_it_may(bundled, float32_folder, pictures, tmp_path):
    path = export(
        bundled, tmp_path / "a", format="onnx", precision="float16", image_size=CANVAS, batch_size=1
    )
    found = ArtefactPredictor(path).run(*pictures)
    expected = detect(bundled, *pictures)
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
    differences = largest_differences(found, expected)
    assert 0 < differences["boxes"] < 0.1
    assert differences["scores"] < 5e-3
    assert differences["masks"] < 0.05
    sizes = [(folder / "model.onnx").stat().st_size for folder in (float32_folder, path)]
    assert sizes[1] < 0.55 * sizes[0]
    types = _types_by_operator(onnx.load(path / "model.onnx"))
    assert types["Conv"] == {onnx.TensorProto.FLOAT16}
    for operator in ("RoiAlign", "TopK", "Exp", "Sigmoid", "Softmax"):
        assert types[operator] == {onnx.TensorProto.FLOAT}


def _types_by_operator(proto):
    """{operator: types of its first input}."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    by_operator = {}
    for node in graph.node:
        if node.input and node.input[0] in types:
            by_operator.setdefault(node.op_type, set()).add(types[node.input[0]])
    return by_operator


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 2])
def test_any_number_of_pictures(batch_size, tmp_path):
    """Also where the file takes two at a time; a black picture and a row of padding among them."""
    found, _ = check_export(tmp_path, detectron2_like(), format="onnx", batch_size=batch_size)
    assert found["num_detections"][4] == 0
    check_unused_slots_are_zero(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [torchvision_like, faster_rcnn_of_80_classes, batch_norms, c4, parts_of_the_paper],
)
def test_other_models_equal_keras(changes, tmp_path):
    found, _ = check_export(tmp_path, changes(), (1, 2), format="onnx", batch_size=1)
    assert ("masks" in found) == (changes is not faster_rcnn_of_80_classes)


@pytest.mark.slow
def test_thresholds_of_the_export(bundled, pictures, tmp_path):
    path = export(
        bundled,
        tmp_path / "a",
        format="onnx",
        image_size=CANVAS,
        batch_size=1,
        score_threshold=0.9,
        max_detections=7,
    )
    found = ArtefactPredictor(path).run(*pictures)
    assert found["scores"].shape == (5, 7)
    assert found["num_detections"].tolist()[0] == 7
    assert found["scores"][0].min() > 0.9


def test_more_slots_than_candidates_are_refused(tmp_path):
    options = ExportOptions(image_size=(96, 128), batch_size=1, max_detections=2001)
    with pytest.raises(ValueError, match="`max_detections` must be at most 2000"):
        convert(tiny_model(), options, "float32")


@pytest.mark.slow
def test_more_proposals_than_tensorrt_sorts_are_refused(tmp_path):
    rpn = dataclasses.replace(tiny_config().rpn, pre_nms_top_n=1000, post_nms_top_n=4000)
    options = ExportOptions(image_size=(96, 128), batch_size=1)
    with pytest.raises(ValueError, match="TopK takes at most 3840, not 4000"):
        convert(tiny_model(rpn=rpn), options, "float32")


@pytest.mark.slow
def test_more_anchors_than_tensorrt_sorts_are_clipped_with_a_warning(tmp_path, caplog):
    model = tiny_model(rpn=dataclasses.replace(tiny_config().rpn, pre_nms_top_n=6000))
    with caplog.at_level(logging.WARNING, logger="kmrcnn.export.onnx"):
        path = export(model, tmp_path / "a", format="onnx", image_size=(96, 128), batch_size=1)
    assert "6000" in caplog.text
    assert ArtefactPredictor(path).metadata["rpn_pre_nms_top_n"] == 3840
