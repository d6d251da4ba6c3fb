"""Artefacts beside the Keras model they come from, and small models that differ in what a format
must know.
"""

import dataclasses

import keras
import numpy as np

from kmrcnn.config.schema import BoxConfig, PoolerConfig
from kmrcnn.export import ArtefactPredictor, export
from tests.tiny import tiny_config, tiny_inputs, tiny_model

NAMES = ("boxes", "scores", "classes", "masks")
CANVAS = (96, 128)


def detect(model, images, sizes):
    """`ServingModule.detect` by the Keras model; `images` (B, H, W, C) as the network gets them."""
    found = model({"images": images, "image_sizes": sizes})
    found = {name: keras.ops.convert_to_numpy(value) for name, value in found.items()}
    return found | {"num_detections": found.pop("valid").sum(axis=1)}


def largest_differences(found, expected):
    return {
        name: np.abs(found[name].astype(np.float64) - expected[name]).max()
        for name in NAMES
        if name in expected
    }


def check_equal(found, expected):
    """As close as float32 in another order of operations gets."""
    assert set(found) == set(expected)
    np.testing.assert_array_equal(found["num_detections"], expected["num_detections"])
    differences = largest_differences(found, expected)
    assert differences["boxes"] <= 1e-3
    assert differences["scores"] <= 1e-5
    assert differences["classes"] == 0
    assert differences.get("masks", 0) <= 1e-3


def check_unused_slots_are_zero(found):
    for index, number in enumerate(found["num_detections"]):
        for name in NAMES:
            assert not found[name][index, number:].any(), name


def pictures_with_an_empty_row():
    """Three random pictures of different sizes, a black one, and a row that is padding only."""
    inputs = tiny_inputs(sizes=((96, 128), (90, 100), (64, 120), (96, 128), (0, 0)), canvas=CANVAS)
    inputs["images"][3] = 0
    return inputs["images"], inputs["image_sizes"]


def check_batches(artefact, model, numbers=(1, 2, 5)):
    """Batches of the given numbers of those pictures; returns what was found in the last."""
    images, sizes = pictures_with_an_empty_row()
    bgr = model.config.input.channel_order == "bgr"
    expected = detect(model, images[..., ::-1] if bgr else images, sizes)
    assert expected["num_detections"][:3].min() >= 3
    for number in numbers:
        found = artefact.run(images[:number], sizes[:number])
        check_equal(found, {name: values[:number] for name, values in expected.items()})
    return found


def check_export(folder, changes, numbers=(1, 2, 5), **options):
    """Exports a small model and checks it; what it found, and where it is."""
    model = tiny_model(**changes)
    move_statistics(model)
    path = export(model, folder / "artefact", image_size=CANVAS, **options)
    return check_batches(ArtefactPredictor(path), model, numbers), path


def move_statistics(model):
    """Norms that do something."""
    rng = np.random.default_rng(5)
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))


def detectron2_like():
    """BGR, adaptive sampling, aligned, rounded anchors of derived strides left as they are."""
    config = tiny_config()
    return {
        "input": dataclasses.replace(
            config.input, channel_order="bgr", resize="antialiased_uint8", mean=(103, 116, 123)
        ),
        "pooler": PoolerConfig(sampling_ratio=0, aligned=True),
    }


def torchvision_like():
    """Fixed sampling, not aligned, sigmoid ranks."""
    config = tiny_config()
    return {
        "pooler": PoolerConfig(
            sampling_ratio=2, aligned=False, level_epsilon=1e-6, level_epsilon_on="logarithm"
        ),
        "rpn": dataclasses.replace(config.rpn, rank_by="sigmoid", min_size=1e-3),
    }


def faster_rcnn_of_80_classes():
    """No masks, one set of boxes for all classes, more pairs than may compete."""
    return {
        "num_classes": 80,
        "class_names": None,
        "mask": None,
        "box": BoxConfig(
            fc_channels=32, class_agnostic=True, max_detections=30, score_threshold=0.012
        ),
    }


def batch_norms():
    """Norms with statistics, which are folded into the convolutions."""
    config = tiny_config()
    return {
        "backbone": dataclasses.replace(config.backbone, norm="batch_norm"),
        "neck": dataclasses.replace(config.neck, norm="batch_norm"),
        "box": dataclasses.replace(config.box, num_convs=1, conv_channels=16, norm="batch_norm"),
    }


def c4():
    """One map, res5 on every RoI."""
    config, replace = tiny_config(), dataclasses.replace
    return {
        "backbone": replace(config.backbone, last_stage=4),
        "neck": replace(config.neck, name="single_level"),
        "anchors": replace(config.anchors, sizes=((16.0, 32.0, 64.0),)),
        "pooler": replace(config.pooler, stage="res5"),
        "box": replace(config.box, pooled_size=14, reduce="mean", num_fcs=0),
        "mask": replace(config.mask, pooled_size=14, num_convs=0),
    }


def parts_of_the_paper():
    """Softmax over MLP masks, a non-local block."""
    config, replace = tiny_config(), dataclasses.replace
    return {
        "backbone": replace(config.backbone, non_local_stage=4),
        "mask": replace(config.mask, head="mlp", fc_channels=16, activation="softmax"),
    }
