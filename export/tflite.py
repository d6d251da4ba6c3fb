"""LiteRT (TensorFlow Lite) files of builtin operators, one picture of fixed size at a time."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from kmrcnn.export.calibration import calibration_canvases
from kmrcnn.export.fixed_batch import Run, in_batches
from kmrcnn.export.litert_operators import require_builtin
from kmrcnn.export.litert_roi_align import roi_align
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.quantize_tflite import quantize
from kmrcnn.export.requirements import require
from kmrcnn.export.serving_module import ServingModule
from kmrcnn.structures.lowering import Lowering

if TYPE_CHECKING:
    from kmrcnn.models.generalized_rcnn import GeneralizedRCNN

FILE_NAME = "model.tflite"
# RoI cells computed together: 20 boxes of 7 x 7, 5 masks of 14 x 14. Fewer waste less work after
# the last detection, more gain nothing.
BLOCK_CELLS = 1000
# The kernel of LiteRT suppresses in a few milliseconds what eight rounds of matrix products, the
# form without a loop, take a hundred for.
LOWERING = Lowering(roi_align, "per_image", static=True, block_cells=BLOCK_CELLS)

logger = logging.getLogger(__name__)


def write(model: GeneralizedRCNN, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Writes model.tflite; what metadata.json says of it.

    Raises:
        ValueError: `batch_size` is not 1, there are no calibration images, or the model needs an
            operator that is not builtin.
        ImportError: A package is missing.
    """
    require("ai_edge_litert")
    if options.batch_size not in (None, 1):
        raise ValueError(
            f"`batch_size` of tflite must be 1. Received: batch_size={options.batch_size}"
        )
    canvases = None
    if options.precision != "float32":
        require("ai_edge_quantizer")
    if options.precision == "int8":  # before the conversion: a wrong folder should fail at once
        canvases = calibration_canvases(
            options.calibration_images, model.config.input, options.image_size
        )
    function, module = _detection_function(model, options)
    content = _convert(function, module)
    if options.precision != "float32":
        content = quantize(content, options.precision, canvases)
    require_builtin(content)
    (folder / FILE_NAME).write_bytes(content)
    return _particulars(function, options)


def open_artefact(folder: Path, metadata: dict[str, Any], num_threads: int | None = None) -> Run:
    """LiteRT on the CPU; see `Format`.

    Args:
        folder: With model.tflite.
        metadata: Of the artefact.
        num_threads: None: one per core.
    """
    require("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        str(folder / FILE_NAME), num_threads=num_threads or os.cpu_count() or 1
    )
    run = interpreter.get_signature_runner()
    return in_batches(
        lambda images, image_sizes: run(images=images, image_sizes=image_sizes),
        metadata["batch_size"],
    )


def _detection_function(model: GeneralizedRCNN, options: ExportOptions):
    """The traced `detect` for one canvas, and the module whose variables it reads."""
    twin = lowered_model(model, LOWERING, fold_batch_norm=True, **options.detection_changes())
    module = ServingModule(twin)
    shape = (1, *options.image_size, model.config.input.channels)
    signature = (
        tf.TensorSpec(shape, tf.float32, "images"),
        tf.TensorSpec((1, 2), tf.int32, "image_sizes"),
    )
    function = tf.function(module.detect, input_signature=signature)
    return function.get_concrete_function(), module


def _convert(function, module: tf.Module) -> bytes:
    """The file of a traced function, in float32."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = True  # to name them: `require_builtin` refuses them
    logger.info("Converting to LiteRT; this can take a minute.")
    return converter.convert()


def _particulars(function, options: ExportOptions) -> dict[str, Any]:
    """What metadata.json says beyond the common part."""
    images, image_sizes = function.structured_input_signature[0]
    return {
        "image_size": list(options.image_size),
        "batch_size": 1,
        "signature": "serving_default",
        "inputs": {
            "images": _tensor(images) | {"layout": "NHWC"},
            "image_sizes": _tensor(image_sizes) | {"order": "height, width"},
        },
        "outputs": {name: _tensor(spec) for name, spec in function.structured_outputs.items()},
    }


def _tensor(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
