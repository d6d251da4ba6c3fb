"""build_engine.sh: the lines that turn the ONNX files into an engine where TensorRT is."""

from __future__ import annotations

from typing import Any

NAME = "build_engine.sh"
LAYERS_NAME = "float16_layers.txt"


def build_script(precision: str, image_size: tuple[int, int], channels: int, dynamic: bool) -> str:
    """The script, for TensorRT 8.5, 8.6, 10 and 11.

    TensorRT 8 chooses precisions by itself once it may use float16, boxes and all; there the
    script names the layers that may and holds the others to float32. Later versions take the types
    that the file states.

    Args:
        precision: What it builds unless told otherwise.
        image_size: (height, width) of the input.
        channels: Of the input.
        dynamic: Whether the batch size is.
    """
    return _TEMPLATE.format(
        precision=precision,
        layers=LAYERS_NAME,
        shapes=_SHAPES.format(*image_size, channels) if dynamic else "shapes=",
    )


def float16_layers(proto: Any) -> str:
    """`--layerPrecisions` of trtexec: float32 but for the nodes whose result is float16.

    Args:
        proto: An `onnx.ModelProto` of float16 and float32 tensors.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(proto)
    half = {
        value.name
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    names = [node.name for node in inferred.graph.node if node.output[0] in half]
    return ",".join(["*:fp32", *(f"{name}:fp16" for name in names)]) + "\n"


_SHAPES = """\
max_batch="${{MAX_BATCH:-4}}"
shape="x{}x{}x{}"
shapes="--minShapes=images:1$shape,image_sizes:1x2"
shapes="$shapes --optShapes=images:1$shape,image_sizes:1x2"
shapes="$shapes --maxShapes=images:$max_batch$shape,image_sizes:${{max_batch}}x2\""""

_TEMPLATE = """\
#!/bin/sh
# Builds a TensorRT engine from the ONNX files beside this script. An engine fits the GPU and the
# TensorRT version it was built with, so run this on the machine that will use it:
#
#   sh build_engine.sh [float32|float16|int8]     without an argument: {precision}
#
# Variables: TRTEXEC: path of trtexec; TENSORRT_MAJOR: 8, 10 or 11, if trtexec does not tell;
# MAX_BATCH: largest batch of an engine of any batch size (4).
set -eu
cd "$(dirname "$0")"
precision="${{1:-{precision}}}"
model="model_$precision.onnx"
if [ ! -f "$model" ]; then
    echo "There is no $model here; export with precision=$precision." >&2
    exit 2
fi

trtexec="${{TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}}"
if [ ! -x "$trtexec" ]; then
    echo "trtexec was not found; set TRTEXEC to its path (JetPack: /usr/src/tensorrt/bin)." >&2
    exit 2
fi

# It prints "[TensorRT v8502]" for 8.5.2 and "[TensorRT v100300]" for 10.3.0.
version="$("$trtexec" --help 2>&1 | sed -n 's/.*TensorRT v\\([0-9][0-9]*\\).*/\\1/p' | head -n 1)"
case "$version" in
    ????) major="${{version%???}}" ;;
    ??????) major="${{version%????}}" ;;
    *) major="" ;;
esac
major="${{TENSORRT_MAJOR:-$major}}"

case "$major:$precision" in
    8:float32) types="--noTF32" ;;
    8:float16)
        types="--fp16 --precisionConstraints=obey --layerPrecisions=$(cat {layers})" ;;
    8:int8) types="--int8 --noTF32" ;;
    9:float32 | 10:float32) types="--stronglyTyped --noTF32" ;;
    9:* | 10:*) types="--stronglyTyped" ;;
    1[1-9]:*) types="" ;; # always strongly typed
    *)
        echo "The version of TensorRT is unknown; set TENSORRT_MAJOR to 8, 10 or 11." >&2
        exit 2 ;;
esac
{shapes}

set -f # names of layers are no file patterns
exec "$trtexec" --onnx="$model" --saveEngine="model_$precision.engine" $types $shapes
"""
