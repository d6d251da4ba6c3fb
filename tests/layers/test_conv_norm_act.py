import keras
import numpy as np
import pytest

from kmrcnn.layers.conv_norm_act import ConvNormAct, NormSpec, make_norm
from kmrcnn.layers.frozen_batch_norm import FrozenBatchNorm
from tests.layer_check import layer_check, randomize

NORMS = ["none", "frozen_batch_norm", "batch_norm", "sync_batch_norm", "group_norm"]


def inputs(height=7, width=9, channels=4, seed=0):
    return np.random.default_rng(seed).normal(size=(2, height, width, channels)).astype("float32")


def by_hand(x, kernel, strides, groups):
    """Sum over the window of zero-padded x, in float64."""
    side, filters = kernel.shape[0], kernel.shape[3]
    pad = (side - 1) // 2
    x = np.pad(x.astype("float64"), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = ((n - side) // strides + 1 for n in x.shape[1:3])
    out = np.zeros((len(x), height, width, filters))
    for group in range(groups):
        ins = slice(group * kernel.shape[2], (group + 1) * kernel.shape[2])
        outs = slice(group * filters // groups, (group + 1) * filters // groups)
        for i in range(height):
            for j in range(width):
                window = x[
                    :, i * strides : i * strides + side, j * strides : j * strides + side, ins
                ]
                out[:, i, j, outs] = np.tensordot(window, kernel[..., outs], 3)
    return out


@pytest.mark.parametrize("norm", NORMS)
def test_layer(norm):
    layer = layer_check(
        lambda: ConvNormAct(8, 3, 2, norm=NormSpec(norm, groups=4)), inputs(), atol=1e-4
    )
    assert layer.kernel.shape == (3, 3, 4, 8)
    names = {weight.path.split("/")[-1] for weight in layer.weights}
    statistics = {"gamma", "beta", "moving_mean", "moving_variance"}
    extra = {"none": {"bias"}, "group_norm": {"gamma", "beta"}}.get(norm, statistics)
    assert names == {"kernel"} | extra


@pytest.mark.parametrize("size", [(7, 9), (8, 10), (1, 1)])
@pytest.mark.parametrize("kernel_size, strides", [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_values_and_shape(size, kernel_size, strides):
    layer = ConvNormAct(6, kernel_size, strides, relu=False)
    x = inputs(*size)
    got = np.asarray(layer(x))
    assert got.shape == (2, -(-size[0] // strides), -(-size[1] // strides), 6)
    assert layer.compute_output_shape(x.shape) == got.shape
    np.testing.assert_allclose(got, by_hand(x, np.asarray(layer.kernel), strides, 1), atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_groups_see_only_their_channels(strides):
    layer = ConvNormAct(8, 3, strides, groups=2, relu=False)
    x = inputs()
    got = layer(x)
    assert layer.kernel.shape == (3, 3, 2, 8)
    np.testing.assert_allclose(got, by_hand(x, np.asarray(layer.kernel), strides, 2), atol=1e-5)


def test_stride_2_does_not_shift_even_sizes():
    """TensorFlow's "same" would centre the windows half a step further."""
    layer = ConvNormAct(1, 3, 2, relu=False)
    layer.build((None, None, None, 1))
    layer.kernel.assign(
        np.eye(1)[None, None]
        * np.eye(3)[1][:, None, None, None]
        * np.eye(3)[1][None, :, None, None]
    )
    ramp = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(np.asarray(layer(ramp))[0, ..., 0], [[0, 2], [8, 10]])


@pytest.mark.parametrize("norm", ["frozen_batch_norm", "batch_norm", "group_norm"])
def test_norm_follows_the_convolution(norm):
    layer = ConvNormAct(8, 3, norm=NormSpec(norm, 1e-3, 4), relu=False)
    x = inputs()
    layer(x)
    randomize(layer)
    convolved = by_hand(x, np.asarray(layer.kernel), 1, 1).astype("float32")
    np.testing.assert_allclose(layer(x), layer.norm(convolved), atol=1e-5)


def test_relu_cuts_negative_values():
    x = inputs()
    layer = ConvNormAct(8, 3)
    linear = ConvNormAct(8, 3, relu=False)
    linear(x), layer(x)
    linear.kernel.assign(layer.kernel)
    got = np.asarray(layer(x))
    assert (got == 0).any()
    np.testing.assert_array_equal(got, np.maximum(linear(x), 0))


@pytest.mark.parametrize("norm", ["batch_norm", "sync_batch_norm"])
def test_batch_norm_follows_training(norm):
    layer = ConvNormAct(8, 3, norm=NormSpec(norm), relu=False)
    x = 5 * inputs()
    layer(x, training=False)
    np.testing.assert_array_equal(layer.norm.moving_mean, np.zeros(8))
    trained = np.asarray(layer(x, training=True))
    np.testing.assert_allclose(trained.mean((0, 1, 2)), 0, atol=1e-4)
    convolved = by_hand(x, np.asarray(layer.kernel), 1, 1)
    np.testing.assert_allclose(layer.norm.moving_mean, 0.1 * convolved.mean((0, 1, 2)), atol=1e-4)


def test_frozen_norm_does_not_train_but_its_kernel_does():
    layer = ConvNormAct(8, 3, norm=NormSpec("frozen_batch_norm"))
    layer(inputs(), training=True)
    assert [v.path.split("/")[-1] for v in layer.trainable_variables] == ["kernel"]


def test_wrong_groups():
    with pytest.raises(ValueError, match="`groups` must divide.*groups=3"):
        ConvNormAct(8, 3, groups=3)(inputs())


def test_unknown_norm():
    with pytest.raises(ValueError, match="`norm` must be one of.*layer_norm"):
        make_norm(NormSpec("layer_norm"))


def test_make_norm():
    assert make_norm(NormSpec()) is None
    assert isinstance(make_norm(NormSpec("frozen_batch_norm", 0.0)), FrozenBatchNorm)
    batch = make_norm(NormSpec("sync_batch_norm", 1e-4))
    assert (batch.momentum, batch.epsilon, batch.synchronized) == (0.9, 1e-4, True)
    group = make_norm(NormSpec("group_norm", 1e-4, 16))
    assert isinstance(group, keras.layers.GroupNormalization)
    assert (group.groups, group.epsilon) == (16, 1e-4)
