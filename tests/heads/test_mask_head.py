"""Mask heads against plain NumPy."""

import numpy as np
import pytest

from kmrcnn.config.schema import MaskConfig
from kmrcnn.heads.mask_head import FCNMaskHead, MLPMaskHead
from tests.layer_check import layer_check, randomize

CONFIG = MaskConfig(num_convs=1, channels=6, num_fcs=2, fc_channels=8)
FEATURES = np.random.default_rng(0).standard_normal((4, 3, 3, 5)).astype("float32")
WANTED = np.array([2, 0, 1, 2], "int32")


def made(kind, channels=3):
    head = kind(CONFIG, channels, name="head")
    head(FEATURES)
    randomize(head)
    return head


def mlp_by_hand(head, features):
    x = features.reshape(len(features), -1)
    for fc in head.fcs:
        x = np.maximum(x @ np.asarray(fc.kernel) + np.asarray(fc.bias), 0)
    x = x @ np.asarray(head.logits.kernel) + np.asarray(head.logits.bias)
    return x.reshape(len(features), head.num_channels, 6, 6)


@pytest.mark.parametrize("kind", [FCNMaskHead, MLPMaskHead])
@pytest.mark.parametrize("given", [(FEATURES,), (FEATURES, WANTED)], ids=["all", "wanted"])
def test_layer(kind, given):
    head = layer_check(lambda: kind(CONFIG, 3, name="head"), *given)
    shape = (4, 6, 6) if len(given) == 2 else (4, 6, 6, 3)
    got = head(*given)
    assert got.shape == shape and got.dtype == "float32"
    assert head.compute_output_shape(*(array.shape for array in given)) == shape


@pytest.mark.parametrize("num_fcs", [2, 3])
def test_mlp_by_hand(num_fcs):
    config = MaskConfig(num_fcs=num_fcs, fc_channels=8)
    head = MLPMaskHead(config, 3)
    head(FEATURES)
    randomize(head)
    assert [fc.units for fc in head.fcs] == [8] * num_fcs
    assert head.logits.units == 3 * 6 * 6
    want = mlp_by_hand(head, FEATURES)
    np.testing.assert_allclose(head(FEATURES), want.transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(head(FEATURES, WANTED), want[np.arange(4), WANTED], atol=1e-5)


@pytest.mark.parametrize("kind", [FCNMaskHead, MLPMaskHead])
def test_wanted_channel_is_one_of_all(kind):
    head = made(kind)
    every = np.asarray(head(FEATURES))
    np.testing.assert_allclose(head(FEATURES, WANTED), every[np.arange(4), :, :, WANTED], atol=1e-5)
    assert np.abs(every[..., 0] - every[..., 1]).max() > 0.1


@pytest.mark.parametrize("kind", [FCNMaskHead, MLPMaskHead])
def test_a_single_channel_is_given_whatever_is_wanted(kind):
    head = made(kind, channels=1)
    np.testing.assert_array_equal(head(FEATURES, WANTED), np.asarray(head(FEATURES))[..., 0])


@pytest.mark.parametrize("kind", [MLPMaskHead])
def test_no_rois(kind):
    head = made(kind)
    assert head(FEATURES[:0], WANTED[:0]).shape == (0, 6, 6)


@pytest.mark.parametrize("kind,layers", [(FCNMaskHead, 3), (MLPMaskHead, 3)])
def test_uses_name_all_layers_with_weights(kind, layers):
    head = made(kind)
    used = [layer for layer, _ in head.uses(3)]
    assert len(used) == layers
    weights = {id(weight) for layer in used for weight in layer.weights}
    assert weights == {id(weight) for weight in head.weights}
