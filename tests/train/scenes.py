"""A dataset and a model whose losses do not depend on how a batch is divided over devices."""

from __future__ import annotations

import dataclasses

import numpy as np

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import BoxConfig, NeckConfig, RPNConfig
from kmrcnn.config.train_schema import (
    Experiment,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from kmrcnn.data.example import Example
from tests.tiny import tiny_config

SIZE = (96, 128)


def rectangles(number: int, objects: int = 3, seed: int = 0) -> list[Example]:
    """Noise with bright rectangles, as many in every picture."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(number):
        image = rng.integers(0, 80, (*SIZE, 3)).astype(np.uint8)
        masks = np.zeros((objects, *SIZE), bool)
        for n, mask in enumerate(masks):
            top, left = int(rng.integers(5, 50)), 5 + 40 * n
            mask[top : top + int(rng.integers(15, 40)), left : left + int(rng.integers(15, 35))] = 1
            image[mask] = rng.integers(120, 250, 3)
        classes = rng.integers(0, 5, objects)
        examples.append(Example.from_full_masks(image, masks, classes, image_id=f"scene-{index}"))
    return examples


def experiment(norm: str = "group_norm", **train) -> Experiment:
    """Draws every anchor and every RoI there is, and takes only the annotated boxes for foreground:
    all pictures have as many of each, so that nothing is random and each has the same weight.
    """
    backbone = dataclasses.replace(tiny_config().backbone, norm=norm, norm_groups=4)
    model = tiny_config(
        backbone=backbone,
        neck=NeckConfig(channels=16),
        rpn=RPNConfig(
            pre_nms_top_n=100,
            post_nms_top_n=50,
            pre_nms_top_n_train=100,
            post_nms_top_n_train=50,
            nms_threshold=1.0,
            samples_per_image=10000,
            positive_fraction=1.0,
        ),
        box=BoxConfig(
            fc_channels=32, samples_per_image=1000, positive_fraction=1.0, foreground_iou=0.97
        ),
    )
    options = {
        "epochs": 2,
        "batch_size": 4,
        "evaluate_every": 0,
        "tensorboard": False,
        "optimizer": OptimizerConfig(learning_rate=0.01, base_batch_size=4, global_clipnorm=1.0),
        "schedule": ScheduleConfig(name="cosine", warmup_updates=0),
    } | train
    data = DataConfig(slots=(4,), mask_crop_size=48, workers=2)
    return Experiment(name="rectangles", model=model, data=data, train=TrainConfig(**options))
