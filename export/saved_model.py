"""SavedModel for TensorFlow Serving and every other TensorFlow runtime.

Standard ops only, pictures of any size and number, three signatures:

- `serving_default`: uint8 pictures of one size; resizing is in the graph, boxes are in the pixels
  of the pictures;
- `serve_bytes`: JPEG or PNG files of any sizes, the same otherwise (models of three channels);
- `serve_float`: the network frame, for clients that resize themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kmrcnn.custom_ops import build, library
from kmrcnn.export import metadata, serving_warmup
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.options import ExportOptions
from kmrcnn.export.picture_graph.decode import NetworkBatch, decoded_batch
from kmrcnn.export.picture_graph.original_frame import to_original_frame
from kmrcnn.export.picture_graph.paste_masks import paste_masks
from kmrcnn.export.picture_graph.resize import pad, resize
from kmrcnn.export.picture_graph.sizes import canvas_size, network_sizes
from kmrcnn.export.serving_module import ServingModule
from kmrcnn.models.generalized_rcnn import GeneralizedRCNN
from kmrcnn.structures.lowering import Lowering

EXTRA = "assets.extra"  # TensorFlow Serving's folder for files that are no part of the graph
LIBRARY = "kmrcnn_ops.so"


def write(model: GeneralizedRCNN, folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Writes `folder`/<version>: a SavedModel with a warm-up file; see `kmrcnn.export.export`.

    Raises:
        ValueError: An option that a SavedModel does not have.
        RuntimeError: `custom_op`, and there is no compiled library.
    """
    if options.batch_size is not None:
        raise ValueError("saved_model takes any number of pictures. Received: `batch_size`")
    if options.paste_masks and model.config.mask is None:
        raise ValueError(f"`paste_masks` needs a model with masks. Received: {model.name!r}")
    lowering = _lowering(model, options.custom_op)
    twin = lowered_model(model, lowering, **options.detection_changes())
    module = PictureServing(twin, options.paste_masks)
    signatures = module.signatures()
    version = folder / str(options.version)
    tf.saved_model.save(module, str(version), signatures=signatures)
    particulars = _describe(module, signatures, options)
    particulars["warmup"] = serving_warmup.write(
        version / EXTRA, model.name, model.config.input.channels, signatures
    )
    if options.custom_op:
        shutil.copyfile(build.find_or_build("tensorflow"), folder / LIBRARY)
        particulars["custom_op_library"] = LIBRARY
    common = metadata.describe(model, twin.config, "saved_model", options.precision)
    metadata.write(version / EXTRA, common | particulars)
    return particulars


def open_artefact(folder: Path, metadata: dict[str, Any]) -> Callable:
    """The signature `serve_float`: run(images, image_sizes) as `ServingModule.detect`."""
    if metadata["custom_op"]:
        _require_custom_op()
    loaded = tf.saved_model.load(str(folder / str(metadata["version"])))
    detect = loaded.signatures["serve_float"]

    def run(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        found = detect(
            images=tf.constant(images, tf.float32), image_sizes=tf.constant(image_sizes, tf.int32)
        )
        return {name: value.numpy() for name, value in found.items()}

    run.loaded = loaded  # a signature alone does not keep the variables alive
    return run


class PictureServing(ServingModule):
    """`ServingModule` between the frames of the pictures.

    Args:
        model: A model of `lowered_model`.
        paste: Masks are pasted onto the pictures.
    """

    def __init__(self, model: GeneralizedRCNN, paste: bool = False):
        super().__init__(model)
        self.paste = paste
        specs = [
            tf.TensorSpec((None, None, None, self.config.input.channels), tf.float32, "images"),
            tf.TensorSpec((None, 2), tf.int32, "image_sizes"),
        ]
        # One function that the signatures share: the network is in the file once. A closure,
        # because saving would trace an attribute anew.
        detect = tf.function(self.detect, input_signature=specs, autograph=False)
        self._shared = lambda: detect.get_concrete_function()

    def signatures(self) -> dict[str, Any]:
        """Concrete functions by name."""
        channels = self.config.input.channels
        pictures = tf.TensorSpec((None, None, None, channels), tf.uint8, "images")
        signatures = {
            "serving_default": _traced(self.serve_pictures, pictures),
            "serve_float": self._shared(),
        }
        if channels == 3:
            files = tf.TensorSpec((None,), tf.string, "image_bytes")
            signatures["serve_bytes"] = _traced(self.serve_bytes, files)
        return signatures

    def serve_pictures(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detections in pixels of pictures (B, h, w, C) uint8, RGB where C = 3."""
        config = self.config.input
        number = _at_least_one(images)
        picture_sizes = tf.tile(tf.shape(images)[None, 1:3], (number, 1))
        sizes = network_sizes(picture_sizes, config)
        resized = resize(images, sizes[0], config)
        padded = pad(resized, canvas_size(sizes, config.pad_multiple))
        return self._detect(NetworkBatch(padded, sizes, picture_sizes))

    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detections in pixels of the upright pictures in JPEG or PNG files, (B,) strings."""
        with tf.control_dependencies([_at_least_one(image_bytes)]):
            files = tf.identity(image_bytes)
        return self._detect(decoded_batch(files, self.config.input))

    def _detect(self, batch: NetworkBatch) -> dict[str, tf.Tensor]:
        found = to_original_frame(
            self._shared()(batch.images, batch.image_sizes),
            batch.image_sizes,
            batch.picture_sizes,
            self.config.anchors.box_ends,
        )
        if self.paste:
            found["masks"] = paste_masks(
                found["masks"],
                found["boxes"],
                found["num_detections"],
                batch.picture_sizes,
                self.config.mask,
            )
        return found


def _lowering(model: GeneralizedRCNN, custom_op: bool) -> Lowering:
    """The fastest forms of standard ops; the compiled RoIAlign if it is wanted."""
    if custom_op:
        _require_custom_op()
        return Lowering("compiled", "combined")
    fixed_sampling = model.config.pooler.sampling_ratio > 0
    return Lowering("crop_and_resize" if fixed_sampling else "reference", "combined")


def _require_custom_op() -> None:
    """Loads the op into this process."""
    if library.tensorflow_ops() is None:
        raise RuntimeError(
            "custom_op=True needs the compiled library, which is not there; "
            "`python -m kmrcnn.custom_ops` tells why."
        )


def _traced(function: Callable, *specs: tf.TensorSpec):
    return tf.function(function, input_signature=specs, autograph=False).get_concrete_function()


def _at_least_one(batch: tf.Tensor) -> tf.Tensor:
    """The number of pictures."""
    number = tf.shape(batch)[0]
    some = tf.debugging.Assert(number >= 1, ["The batch has no pictures:", tf.shape(batch)])
    with tf.control_dependencies([some]):
        return tf.identity(number)


def _describe(
    module: PictureServing, signatures: dict[str, Any], options: ExportOptions
) -> dict[str, Any]:
    """What metadata.json says of the artefact."""
    masks = "(B, D, M, M) float32 probabilities in the frame of each box"
    if options.paste_masks:
        masks += "; serving_default and serve_bytes: (B, D, H, W) uint8, 0 or 1, on the picture"
    outputs = {
        "boxes": "(B, D, 4) float32 xyxy, pixels of the input picture; best first, unused slots 0",
        "scores": "(B, D) float32",
        "classes": "(B, D) int32, index into `classes`",
        "num_detections": "(B,) int32",
    }
    if module.config.mask is not None:
        outputs["masks"] = masks
    if module.config.keypoint is not None:
        outputs["keypoints"] = "(B, D, J, 3) float32 x, y, score, in the frame of the boxes"
    missing = "missing: it decodes three channels only"
    return {
        "version": options.version,
        "image_size": None,
        "batch_size": None,
        "custom_op": options.custom_op,
        "paste_masks": options.paste_masks,
        "exif_orientation": "applied by serve_bytes; of XMP not",
        "inputs": {
            "serving_default": "images (B, h, w, C) uint8, pictures of one size as they are",
            "serve_bytes": "image_bytes (B,) strings: JPEG or PNG files"
            if "serve_bytes" in signatures
            else missing,
            "serve_float": "images (B, H, W, C) float32, resized and zero padded; image_sizes "
            "(B, 2) int32, (height, width) of the content. Boxes are in pixels of `images`",
        },
        "outputs": outputs,
    }
