"""INT8 for TensorRT: the float32 graph with `QuantizeLinear` / `DequantizeLinear` pairs."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from kmrcnn.export.requirements import require

if TYPE_CHECKING:
    import onnx

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

logger = logging.getLogger(__name__)


def quantize(
    proto: onnx.ModelProto, canvases: Iterable[tuple[np.ndarray, np.ndarray]], batch_size: int
) -> onnx.ModelProto:
    """Input and weights of convolutions and matrix products become symmetric int8.

    Weights have a scale per output channel. Everything else computes in float32, products of two
    computed values among it (NMS, the masks' last layer); but a value that a quantized operator
    reads is rounded for all its readers, so RoIAlign pools rounded features. TensorRT takes the
    scales from the pairs and needs no calibration of its own.

    Args:
        proto: A float32 model of `convert`.
        canvases: Pictures as the network gets them, (1, H, W, C) and (1, 2): the largest values
            they cause set the scales of the inputs.
        batch_size: Of the graph; each picture is repeated.
    """
    require("onnxruntime")
    import onnx
    from onnxruntime import quantization

    reader = _reader(canvases, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            copy.deepcopy(proto),  # ONNX Runtime moves the weights of what it is given to a file
            str(target),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=_nodes_with_weights(proto),
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                # As TensorRT wants them: pairs on the weights too, float32 biases, and no pair
                # between an operator and the activation that is fused with it.
                "AddQDQPairToWeight": True,
                "DedicatedQDQPair": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(OPERATORS),
            },
        )
        return onnx.load(target)


def _nodes_with_weights(proto: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in OPERATORS and node.input[1] in constants
    ]


def _reader(canvases: Iterable[tuple[np.ndarray, np.ndarray]], batch_size: int):
    """The pictures as ONNX Runtime asks for them."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self._pictures = iter(tqdm(canvases, desc="Calibrating", unit="picture"))

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self._pictures, None)
            if picture is None:
                return None
            images, sizes = (np.repeat(values, batch_size, axis=0) for values in picture)
            return {"images": images, "image_sizes": sizes}

    return Reader()
