"""Small models for tests: narrow, random, but with scores that differ."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from kmrcnn.config.schema import (
    BackboneConfig,
    BoxConfig,
    InputConfig,
    MaskConfig,
    ModelConfig,
    NeckConfig,
    PoolerConfig,
    RPNConfig,
)
from kmrcnn.models.build import build_model

CLASS_NAMES = ("coin", "rectangle", "triangle", "star", "leaf")


def tiny_config(**changes) -> ModelConfig:
    """A config of five classes; `changes` replace whole parts."""
    config = ModelConfig(
        num_classes=5,
        class_names=CLASS_NAMES,
        input=InputConfig(short_side=96, long_side=160),
        backbone=BackboneConfig(name="resnet18", stem_channels=8, res2_channels=8, freeze_at=0),
        neck=NeckConfig(channels=16),
        rpn=RPNConfig(
            pre_nms_top_n=100,
            post_nms_top_n=50,
            pre_nms_top_n_train=100,
            post_nms_top_n_train=50,
            samples_per_image=64,
        ),
        pooler=PoolerConfig(sampling_ratio=2),
        box=BoxConfig(fc_channels=32, max_detections=12, samples_per_image=32, score_threshold=0.1),
        mask=MaskConfig(num_convs=1, channels=16),
    )
    return dataclasses.replace(config, **changes)


def spread_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random kernels of a size that gives varied proposals and scores below 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not weight.path.endswith("kernel"):
            continue
        scale = 0.3 if "conv2" in weight.path else 1.0
        if any(name in weight.path for name in ("class_logits", "deltas", "objectness")):
            scale = 0.02
        fan_in = np.prod(weight.shape[:-1])
        weight.assign(rng.standard_normal(weight.shape) * scale * np.sqrt(2 / fan_in))
    return model


def tiny_model(seed: int = 0, **changes) -> keras.Model:
    return spread_weights(build_model(tiny_config(**changes), seed=seed), seed)


def tiny_inputs(sizes=((96, 128), (90, 100)), canvas=(96, 128), channels=3, seed=0) -> dict:
    """Random pictures of the given content sizes on one canvas."""
    rng = np.random.default_rng(seed)
    images = np.zeros((len(sizes), *canvas, channels), np.float32)
    for image, (height, width) in zip(images, sizes):
        image[:height, :width] = rng.uniform(0, 255, (height, width, channels))
    return {"images": images, "image_sizes": np.array(sizes, np.int32)}


def tiny_targets(inputs: dict, number: int = 3, seed: int = 0) -> dict:
    """`number` rectangles per picture; the windows of the masks are the whole canvas."""
    rng = np.random.default_rng(seed)
    batch, height, width = inputs["images"].shape[:3]
    slots = (batch, max(number, 1))
    targets = {
        "boxes": np.zeros((*slots, 4), np.float32),
        "classes": rng.integers(0, 5, slots).astype(np.int32),
        "valid": np.zeros(slots, bool),
        "masks": np.zeros((*slots, height, width), np.uint8),
        "mask_windows": np.tile(np.array([0, 0, width, height], np.float32), (*slots, 1)),
    }
    targets["valid"][:, :number] = True
    for b in range(batch):
        for n in range(number):
            x, y = rng.integers(0, 50, 2)
            w, h = rng.integers(15, 40, 2)
            targets["boxes"][b, n] = (x, y, x + w, y + h)
            targets["masks"][b, n, y : y + h, x : x + w] = 1
    return targets
