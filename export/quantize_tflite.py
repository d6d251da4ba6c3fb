"""Smaller numbers in a LiteRT file: weights as float16 or int8, activations too.

Only convolutions and matrix products with weights change. Boxes, RoIAlign, NMS and scores keep
float32: a scale of 256 steps over coordinates and padding scores leaves no detection, without an
error, and float16 anchors are off by up to a pixel. LiteRT's own converter does both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm

from kmrcnn.export.litert_operators import operators
from kmrcnn.export.requirements import require

OPERATORS = {  # name in LiteRT's schema: name in ai-edge-quantizer
    "CONV_2D": "CONV_2D",
    "FULLY_CONNECTED": "FULLY_CONNECTED",
    "TRANSPOSE_CONV": "CONV_2D_TRANSPOSE",
}
PRECISIONS = ("float16", "dynamic_int8", "int8")

Canvases = Iterable[tuple[np.ndarray, np.ndarray]]
Ranges = dict[str, dict[str, np.ndarray]]


def quantize(content: bytes, precision: str, canvases: Canvases | None = None) -> bytes:
    """The file with weights, or weights and activations, of fewer bits.

    Args:
        content: A float32 file with the inputs `images` and `image_sizes`.
        precision: "float16": weights are stored so and computed in float32. "dynamic_int8": weights
            are int8 with a scale per output channel, activations become int8 with the range they
            have at that moment. "int8": activations have ranges found beforehand.
        canvases: For "int8": pictures as the network gets them, (1, H, W, C) and (1, 2).

    Raises:
        ValueError: The pictures of `canvases` left a part of the network unused.
        ImportError: ai-edge-quantizer is missing.
    """
    require("ai_edge_litert", "ai_edge_quantizer")
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(content)
    for operator in map(TFLOperationName, OPERATORS.values()):
        if precision == "float16":
            quantizer.add_weight_only_config(
                ".*", operator, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
            )
        elif precision == "dynamic_int8":
            quantizer.add_dynamic_config(".*", operator, 8)
        elif precision == "int8":
            quantizer.add_static_config(".*", operator, 8, 8)
        else:
            raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: {precision!r}")
    ranges = None
    if precision == "int8":
        ranges = _find_ranges(content, canvases)
        _require_covered(content, ranges)
    result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _find_ranges(content: bytes, canvases: Canvases) -> Ranges:
    """{tensor: {"min", "max"}}: the mean over the pictures of each picture's extremes.

    The mean, so that one odd picture does not cost all others their resolution.
    """
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager

    # This mode alone sees inside loops, where the heads are.
    mode = CalibrationMode.CALIBRATION_PROFILER_BASED
    calibrator = Calibrator(content, num_threads=os.cpu_count() or 1, mode=mode)
    seen: dict[str, list] = {}
    for images, image_sizes in tqdm(canvases, desc="Calibrating", unit="picture"):
        inputs = {"images": images, "image_sizes": image_sizes}
        calibrator.reset_model_qsvs()
        calibrator.calibrate({"serving_default": [inputs]}, RecipeManager())
        for name, extremes in calibrator.get_model_qsvs().items():
            seen.setdefault(name, []).append((extremes["min"], extremes["max"]))
    means = {name: np.mean(extremes, axis=0) for name, extremes in seen.items()}
    return {name: {"min": low, "max": high} for name, (low, high) in means.items()}


def _require_covered(content: bytes, ranges: Ranges) -> None:
    """Heads are not computed where there is nothing to compute them for."""
    missing = [
        one.output
        for one in operators(content)
        if one.kind in OPERATORS and one.output not in ranges
    ]
    if missing:
        raise ValueError(
            "The `calibration_images` must show objects that the model finds: without detections "
            f"parts of it are never computed. Received: no values of {missing[0]!r}"
        )
