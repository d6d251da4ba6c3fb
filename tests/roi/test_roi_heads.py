"""The second stage put together."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.config.schema import BoxConfig, MaskConfig, PoolerConfig
from kmrcnn.heads.box import BoxBranch
from kmrcnn.heads.mask import MaskBranch
from kmrcnn.heads.mask_classes import IndependentClasses
from kmrcnn.heads.mask_head import FCNMaskHead
from kmrcnn.roi.pooler import RoIPooler
from kmrcnn.roi.roi_heads import RoIHeads

INFO = {"P2": (4, 4), "P3": (4, 8)}
BOX = BoxConfig(pooled_size=3, num_fcs=1, fc_channels=16, max_detections=6, samples_per_image=12)
SIZES = np.array([[64, 64], [60, 50]], "int32")


def heads(mask=True, seed=0, **changes):
    pool = lambda size: RoIPooler(PoolerConfig(sampling_ratio=2), size, INFO, tuple(INFO))  # noqa: E731
    box = BoxBranch(dataclasses.replace(BOX, **changes), pool(3), 5, name="box")
    config = MaskConfig(pooled_size=4, num_convs=1, channels=8)
    head = FCNMaskHead(config, 5, name="head")
    classes = IndependentClasses(5, class_agnostic=False)
    mask_branch = MaskBranch(config, pool(4), head, classes, name="mask")
    branches = {"mask": mask_branch} if mask else {}
    return RoIHeads(box, branches, seed=seed)


def inputs(valid=True):
    draw = np.random.default_rng(0)
    features = {
        f"P{i}": draw.standard_normal((2, 64 >> i, 64 >> i, 4)).astype("float32") for i in (2, 3)
    }
    corners = draw.uniform(0, 30, (2, 20, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(5, 30, (2, 20, 2))], -1).astype(
        "float32"
    )
    return features, {"boxes": boxes, "valid": np.full((2, 20), valid)}


def targets(valid=True):
    masks = np.zeros((2, 2, 64, 64), "uint8")
    masks[:, 0, 10:30, 5:40] = masks[:, 1, 40:60, 40:60] = 1
    boxes = np.array([[[5, 10, 40, 30], [40, 40, 60, 60]]] * 2, "float32")
    return {
        "boxes": boxes,
        "classes": np.array([[3, 1], [0, 4]], "int32"),
        "valid": np.full((2, 2), valid),
        "masks": masks,
        "mask_windows": np.full((2, 2, 4), [0, 0, 64, 64], "float32"),
    }


@pytest.mark.parametrize("mask", [True, False])
def test_detections_have_the_declared_shapes(mask):
    layer = heads(mask)
    features, proposals = inputs()
    found = layer(features, proposals, SIZES)
    specs = layer.compute_output_spec(features, proposals, SIZES)
    assert (
        set(found)
        == set(specs)
        == {"boxes", "scores", "classes", "valid"} | ({"masks"} if mask else set())
    )
    for name, spec in specs.items():
        assert (
            tuple(found[name].shape) == tuple(spec.shape) and found[name].dtype.name == spec.dtype
        )


def test_masks_belong_to_the_detections():
    layer = heads()
    features, proposals = inputs()
    found = layer(features, proposals, SIZES)
    valid = np.asarray(found["valid"])
    assert valid.any()
    logits = layer.branches["mask"](features, found["boxes"], found["classes"], found["valid"])
    masks = np.asarray(found["masks"])
    np.testing.assert_allclose(
        masks[valid], 1 / (1 + np.exp(-np.asarray(logits)[valid])), atol=1e-6
    )
    scores = np.asarray(found["scores"])
    assert (np.diff(scores, axis=1) <= 0).all() and (scores[valid] > BOX.score_threshold).all()
    limits = SIZES[:, None, [1, 0, 1, 0]]
    assert ((np.asarray(found["boxes"]) >= 0) & (np.asarray(found["boxes"]) <= limits)).all()


@pytest.mark.parametrize("changes, proposed", [({}, False), ({"score_threshold": 1.0}, True)])
def test_nothing_found(changes, proposed):
    features, proposals = inputs(proposed)
    found = heads(**changes)(features, proposals, SIZES)
    assert not np.asarray(found["valid"]).any() and not np.asarray(found["masks"]).any()
    assert all(np.isfinite(np.asarray(value)).all() for value in found.values())


def losses(layer, proposals_valid=True, targets_valid=True):
    features, proposals = inputs(proposals_valid)
    if not layer.built:
        layer.build({name: value.shape for name, value in features.items()})
    found = layer.compute_losses(features, proposals, targets(targets_valid), training=True)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("mask", [True, False])
def test_losses_are_named_and_positive(mask):
    found = losses(heads(mask))
    assert set(found) == {"loss_cls", "loss_box"} | ({"loss_mask"} if mask else set())
    assert all(value > 0 for value in found.values())


@pytest.mark.parametrize("proposed, objects", [(True, False), (False, True), (False, False)])
def test_losses_are_finite_without_proposals_or_objects(proposed, objects):
    found = losses(heads(), proposed, objects)
    assert all(np.isfinite(value) for value in found.values())
    assert (found["loss_box"] > 0) == (found["loss_mask"] > 0) == objects
    assert (found["loss_cls"] > 0) == (proposed or objects)


def test_seed_decides_the_sample():
    layers = [heads(mask=False, seed=s) for s in (1, 1, 2)]
    for layer in layers:
        layer.build({name: value.shape for name, value in inputs()[0].items()})
        layer.box.set_weights(layers[0].box.get_weights())
    first, again, other = (losses(layer) for layer in layers)
    assert first == again and first != other
