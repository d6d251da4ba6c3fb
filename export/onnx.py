"""ONNX files that TensorRT's parser takes too: fixed picture size, no control flow, no plugin."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kmrcnn.export.fixed_batch import Run, in_batches
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.onnx_handlers import handlers
from kmrcnn.export.onnx_roi_align import OnnxRoIAlign
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.parser_tables import MAX_TOP_K, check_model
from kmrcnn.export.requirements import require
from kmrcnn.export.serving_module import ServingModule
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
from kmrcnn.structures.lowering import Lowering

if TYPE_CHECKING:
    import onnx

FILE_NAME = "model.onnx"
OPSET = 17  # the highest that the parser of TensorRT 8.5 knows
# Pairs of box and class that compete. Without control flow they are compared all with all, which
# costs memory and time in the square of their number.
MAX_CANDIDATES = 2000

logger = logging.getLogger(__name__)


def write(model: GeneralizedRCNN, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Writes model.onnx; what metadata.json says of it."""
    import onnx

    proto = convert(model, options, options.precision)
    onnx.save(proto, folder / FILE_NAME)
    return particulars(proto, model, options)


def open_artefact(folder: Path, metadata: dict[str, Any]) -> Run:
    """ONNX Runtime on the CPU; see `Format`."""
    return in_batches(open_file(folder / FILE_NAME), metadata["batch_size"])


def open_file(path: Path) -> Run:
    """One ONNX file in ONNX Runtime on the CPU."""
    require("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images, image_sizes):
        outputs = session.run(names, {"images": images, "image_sizes": image_sizes})
        return dict(zip(names, outputs))

    return run


def convert(model: GeneralizedRCNN, options: ExportOptions, precision: str) -> onnx.ModelProto:
    """The detection graph in standard ONNX operators, checked.

    Args:
        model: A Keras model.
        options: Picture size, batch size and thresholds.
        precision: "float32"; or "float16": convolutions and matrix products are float16, all that
            touches boxes and scores is float32, and the file says so tensor by tensor.

    Raises:
        ImportError: A package is missing.
        ValueError: The graph has an operator that TensorRT does not take, or there are more slots
            than candidates.
    """
    require("tf2onnx", "onnx")
    import onnx
    import tf2onnx

    _check_slots(model, options)
    height, width = options.image_size
    channels = model.config.input.channels
    signature = (
        tf.TensorSpec((options.batch_size, height, width, channels), tf.float32, "images"),
        tf.TensorSpec((options.batch_size, 2), tf.int32, "image_sizes"),
    )
    roi_align = OnnxRoIAlign()
    twin = lowered_model(
        model,
        Lowering(roi_align, "unrolled", MAX_CANDIDATES, static=True),
        precision=precision,
        fold_batch_norm=True,
        pre_nms_top_n=_pre_nms_top_n(model),
        **options.detection_changes(),
    )
    logger.info("Converting to ONNX; this can take a minute.")
    proto, _ = tf2onnx.convert.from_function(
        tf.function(ServingModule(twin).detect, signature, autograph=False),
        input_signature=signature,
        opset=OPSET,
        custom_op_handlers=roi_align.handlers() | handlers(),
    )
    _name_batch(proto)
    check_model(proto)  # tf2onnx leaves an operator that it cannot convert in the graph
    onnx.checker.check_model(proto, full_check=True)
    return proto


def particulars(
    proto: onnx.ModelProto, model: GeneralizedRCNN, options: ExportOptions
) -> dict[str, Any]:
    """What metadata.json says beyond the common part."""
    return {
        "image_size": list(options.image_size),
        "batch_size": options.batch_size,
        "inputs": _describe(proto.graph.input),
        "outputs": _describe(proto.graph.output),
        "layout": "NHWC",
        "opset": OPSET,
        "nms_candidates": MAX_CANDIDATES,
        "rpn_pre_nms_top_n": _pre_nms_top_n(model),
    }


def _describe(values: Iterable[onnx.ValueInfoProto]) -> dict[str, Any]:
    """{name: {"dtype": ..., "shape": [...]}}; "batch" stands for any number."""
    from onnx import helper

    described = {}
    for value in values:
        tensor = value.type.tensor_type
        described[value.name] = {
            "dtype": str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
            "shape": [side.dim_param or side.dim_value for side in tensor.shape.dim],
        }
    return described


def _pre_nms_top_n(model: GeneralizedRCNN) -> int:
    """Anchors kept per level: as the model has it, or as many as TensorRT can sort out."""
    wanted = model.config.rpn.pre_nms_top_n
    if wanted > MAX_TOP_K:
        logger.warning(
            "TensorRT picks at most %d anchors per level; the model's %d become so many.",
            MAX_TOP_K,
            wanted,
        )
    return min(wanted, MAX_TOP_K)


def _check_slots(model: GeneralizedRCNN, options: ExportOptions) -> None:
    slots = options.max_detections or model.config.box.max_detections
    if slots > MAX_CANDIDATES:
        raise ValueError(
            f"`max_detections` must be at most {MAX_CANDIDATES} for ONNX and TensorRT. "
            f"Received: {slots}"
        )


def _name_batch(proto: onnx.ModelProto) -> None:
    """Calls every dynamic first dimension "batch"; tf2onnx numbers them."""
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.HasField("dim_value"):
            first.dim_param = "batch"
