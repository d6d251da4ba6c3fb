"""Which operators a LiteRT file has."""

import pytest
import tensorflow as tf

from kmrcnn.export.litert_operators import operators, require_builtin


def convert(function, *specs):
    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = True
    return converter.convert()


VALUES = tf.TensorSpec((4,), tf.float32)
PICTURE = tf.TensorSpec((1, 8, 8, 3), tf.float32)
BOXES = tf.TensorSpec((2, 4), tf.float32)


def test_operators_inside_loops_are_seen():
    def count(values):
        step = lambda total: total + tf.sin(values)  # noqa: E731
        return tf.while_loop(lambda total: tf.reduce_sum(total) < 9.0, step, [values])

    content = convert(count, VALUES)
    kinds = {one.kind for one in operators(content)}
    assert {"WHILE", "SIN", "ADD"} <= kinds
    assert all(one.output for one in operators(content))
    require_builtin(content)


def test_operators_that_are_not_builtin_are_named():
    def crop(pictures, boxes):
        return tf.image.crop_and_resize(pictures, boxes, tf.zeros(2, tf.int32), (2, 2))

    content = convert(crop, PICTURE, BOXES)
    assert "CUSTOM CropAndResize" in {one.kind for one in operators(content)}
    with pytest.raises(ValueError, match="does not have built in.*CropAndResize"):
        require_builtin(content)
