"""Backbones from torchvision's files for ImageNet."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.models.build import build_model
from kmrcnn.weights.assign import load_tensors
from kmrcnn.weights.canonical import canonical_weights
from kmrcnn.weights.imagenet import IMAGENET
from kmrcnn.weights.sources import find_source
from tests.tiny import tiny_config

_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@pytest.fixture(scope="module")
def model():
    narrow = dataclasses.replace(tiny_config().backbone, blocks=(1, 1, 2, 1), non_local_stage=4)
    return build_model(tiny_config(backbone=narrow), seed=0)


def file_of(model, seed=0):
    """What such a file would hold, as PyTorch lays it out."""
    draw, tensors = np.random.default_rng(seed), {}
    for name, variable in canonical_weights(model).items():
        part, layer, *rest = name.split("/")
        if part != "backbone" or layer.startswith("non_local"):
            continue
        kernel = rest[-1] == "kernel"
        shape = np.array(variable.shape)[[3, 2, 0, 1]] if kernel else variable.shape
        key = _their_name(layer, rest)
        tensors[key] = draw.uniform(0.5, 1.5, tuple(shape)).astype("float32")
    tensors["fc.weight"], tensors["fc.bias"] = np.zeros((10, 4)), np.zeros(10)
    tensors["bn1.num_batches_tracked"] = np.array(7)
    return tensors


def _their_name(layer, rest):
    if layer == "stem":
        return "conv1.weight" if rest == ["kernel"] else f"bn1.{_NORM[rest[1]]}"
    stage, block = layer.removeprefix("res").split("_")
    prefix, inner = f"layer{int(stage) - 1}.{block}", rest[0]
    if inner == "shortcut":
        number = "0.weight" if rest[1] == "kernel" else f"1.{_NORM[rest[2]]}"
        return f"{prefix}.downsample.{number}"
    if rest[1] == "kernel":
        return f"{prefix}.{inner}.weight"
    return f"{prefix}.{inner.replace('conv', 'bn')}.{_NORM[rest[2]]}"


def test_the_backbone_is_loaded_and_the_rest_stays_fresh(model):
    tensors = file_of(model)
    assert find_source(tensors) is IMAGENET
    before = {name: np.array(v) for name, v in canonical_weights(model).items()}
    report = load_tensors(model, tensors, IMAGENET)
    after = {name: np.array(v) for name, v in canonical_weights(model).items()}
    stem = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(after["backbone/stem/kernel"], stem)
    shift = tensors["layer3.1.bn2.bias"]
    np.testing.assert_array_equal(after["backbone/res4_1/conv2/norm/beta"], shift)
    fresh = {name for name in before if np.array_equal(before[name], after[name])}
    assert fresh == set(report.reinitialised)
    assert {name.split("/")[0] for name in fresh} == {"backbone", "neck", "rpn", "roi_heads"}
    assert all("non_local" in name for name in fresh if name.startswith("backbone"))
    assert set(report.ignored) == {"fc.weight", "fc.bias", "bn1.num_batches_tracked"}


def test_a_file_that_lacks_a_layer_is_refused(model):
    tensors = file_of(model)
    del tensors["layer2.0.conv1.weight"]
    with pytest.raises(ValueError, match=r"no layer2\.0\.conv1\.weight"):
        load_tensors(model, tensors, IMAGENET)
