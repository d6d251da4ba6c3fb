"""Requests that TensorFlow Serving answers when it loads a model, so that no client waits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from kmrcnn.export.requirements import require

FILE_NAME = "tf_serving_warmup_requests"
PICTURE_SIZE = (240, 320)  # any size will do: the graph brings it to the network's


def write(folder: Path, model_name: str, channels: int, signatures: Iterable[str]) -> bool:
    """Writes one request for each signature that takes pictures, as TFRecord of `PredictionLog`.

    Args:
        folder: The SavedModel's assets.extra; is made.
        model_name: Goes into the requests.
        channels: Of a picture.
        signatures: The names of those there are.

    Returns:
        Whether it was written: without the package tensorflow-serving-api it is not, and a warning
        says so. The model serves without it, but slowly at first.
    """
    try:
        require("tensorflow_serving")
    except ImportError as error:
        warnings.warn(f"No warm-up requests for TensorFlow Serving. {error}", stacklevel=2)
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE_NAME)) as writer:
        for name, inputs in _inputs(channels, signatures).items():
            writer.write(_prediction_log(model_name, name, inputs).SerializeToString())
    return True


def _inputs(channels: int, signatures: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{signature: {input: value}}."""
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE_SIZE, channels), np.uint8)
    inputs = {"serving_default": {"images": picture[None]}}
    if "serve_bytes" in signatures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG")
        inputs["serve_bytes"] = {"image_bytes": [file.getvalue()]}
    return inputs


def _prediction_log(model_name: str, signature: str, inputs: dict[str, Any]):
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
