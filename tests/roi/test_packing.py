"""Padded sets to dense ones and back."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.roi import packing
from kmrcnn.roi.packing import pack, pack_values, unpack

BOXES = np.arange(24, dtype="float32").reshape(2, 3, 4)
VALID = np.array([[True, False, True], [False, True, False]])


@pytest.fixture(params=["dense", "static"])
def form(request, monkeypatch):
    """Dense under TensorFlow; other backends keep every slot."""
    if request.param == "static":
        monkeypatch.setattr(packing.keras.backend, "backend", lambda: "another")
    return request.param


def test_pack_keeps_order_and_image(form):
    packed = pack(BOXES, VALID)
    slots = [0, 2, 4] if form == "dense" else list(range(6))
    assert packed.slots is None if form == "static" else np.asarray(packed.slots).tolist() == slots
    assert np.asarray(packed.batch_indices).tolist() == [slot // 3 for slot in slots]
    np.testing.assert_array_equal(packed.boxes, BOXES.reshape(6, 4)[slots])


@pytest.mark.parametrize("rest", [(), (4,), (2, 3)])
def test_round_trip(form, rest):
    values = np.random.default_rng(0).standard_normal((2, 3, *rest)).astype("float32")
    packed = pack(BOXES, VALID)
    back = np.asarray(unpack(pack_values(values, packed), packed, VALID))
    np.testing.assert_array_equal(back[VALID], values[VALID])
    assert not back[~VALID].any()


def test_nothing_valid():
    none = np.zeros_like(VALID)
    packed = pack(BOXES, none)
    assert packed.boxes.shape == (1, 4)  # heads cannot work on an empty batch
    back = np.asarray(unpack(tf.ones((1, 5)), packed, none))
    assert back.shape == (2, 3, 5) and not back.any()


def test_gradient_flows_back_to_the_valid_slots():
    values = tf.Variable(tf.ones((2, 3, 2)))
    with tf.GradientTape() as tape:
        packed = pack(BOXES, VALID)
        total = tf.reduce_sum(unpack(3 * pack_values(values, packed), packed, VALID))
    gradient = tf.convert_to_tensor(tape.gradient(total, values))
    np.testing.assert_array_equal(gradient, 3.0 * np.repeat(VALID[..., None], 2, axis=2))


def test_unknown_sizes():
    @tf.function(
        input_signature=[tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None), tf.bool)]
    )
    def run(boxes, valid):
        packed = pack(boxes, valid)
        return unpack(packed.boxes, packed, valid)

    np.testing.assert_array_equal(run(BOXES, VALID), BOXES * VALID[..., None])
