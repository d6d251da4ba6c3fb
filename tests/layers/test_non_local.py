"""Non-local block against plain NumPy, and its place in the backbone."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.backbones.resnet import ResNet
from kmrcnn.config.schema import BackboneConfig
from kmrcnn.layers.non_local import NonLocalBlock
from kmrcnn.train.freezing import freeze
from kmrcnn.weights.canonical import canonical_name, canonical_weights
from tests.layer_check import layer_check, randomize
from tests.tiny import tiny_config, tiny_inputs, tiny_model

X = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype("float32")


def by_hand(block, x):
    theta, phi, g = (
        (x @ np.asarray(conv.kernel)[0, 0] + np.asarray(conv.bias)).reshape(len(x), -1, 3)
        for conv in block.convs[:3]
    )
    powers = np.exp(theta @ phi.transpose(0, 2, 1))
    seen = (powers / powers.sum(axis=2, keepdims=True)) @ g
    last = block.convs[3]
    update = seen @ np.asarray(last.kernel)[0, 0] + np.asarray(last.bias)
    return x + update.reshape(x.shape)


def made():
    block = NonLocalBlock()
    block(X)
    randomize(block)
    return block


def test_value_by_hand():
    block = made()
    np.testing.assert_allclose(block(X), by_hand(block, X), atol=1e-5)
    assert np.abs(np.asarray(block(X)) - X).max() > 0.1


def test_layer_begins_as_the_identity():
    block = layer_check(lambda: NonLocalBlock(), X)
    np.testing.assert_array_equal(block(X), X)
    assert block.compute_output_shape(X.shape) == X.shape


def test_positions_far_apart_see_each_other():
    block, moved = made(), X.copy()
    moved[0, 0, 0] += 1
    change = np.abs(np.asarray(block(moved)) - np.asarray(block(X)))
    assert (change[0].max(axis=-1) > 0).all() and (change[1] == 0).all()


def test_a_single_position_sees_itself():
    block = made()
    np.testing.assert_allclose(block(X[:, :1, :1]), by_hand(block, X[:, :1, :1]), atol=1e-5)


def test_it_stands_before_the_last_block_and_takes_part_in_training():
    backbone = dataclasses.replace(tiny_config().backbone, non_local_stage=4)
    model = tiny_model(backbone=backbone)
    stages = model.backbone.stages
    assert [isinstance(block, NonLocalBlock) for block in stages[2]] == [False, True, False]
    assert not any(isinstance(block, NonLocalBlock) for block in [*stages[0], *stages[3]])
    names = [name for name in canonical_weights(model) if "non_local" in name]
    assert "backbone/non_local4/theta/kernel" in names and len(names) == 8
    inputs = tiny_inputs()
    before = np.asarray(model(inputs)["boxes"])
    weight = stages[2][1].convs[3].kernel
    weight.assign(np.random.default_rng(0).normal(0, 0.3, weight.shape))
    assert np.abs(np.asarray(model(inputs)["boxes"]) - before).max() > 1e-3
    freeze(model, "res4")
    assert not stages[2][1].trainable_variables and stages[3][0].trainable_variables


def test_frozen_stages_freeze_it_too():
    config = BackboneConfig(name="resnet18", freeze_at=4, non_local_stage=4)
    backbone = ResNet(config, {4: NonLocalBlock(name="non_local4")})
    backbone(np.zeros((1, 32, 32, 3), "float32"))
    assert not backbone.stages[2][1].trainable_variables


def test_name_within_wrappers():
    name = canonical_name("rcnn/backbone/res_net/non_local4/g/bias", "rcnn")
    assert name == "backbone/non_local4/g/bias"


@pytest.mark.parametrize("settings", [{"non_local_stage": 6}, {"non_local_stage": 1}])
def test_wrong_stages_are_errors(settings):
    with pytest.raises(ValueError, match="non_local_stage"):
        BackboneConfig(**settings)
    with pytest.raises(ValueError, match="non_local_stage"):
        BackboneConfig(last_stage=4, non_local_stage=5)
