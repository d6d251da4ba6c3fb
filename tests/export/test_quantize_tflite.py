"""What becomes of the numbers in a LiteRT file, on a graph of three layers."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.export.quantize_tflite import _find_ranges, quantize

SIDE = 16


@pytest.fixture(scope="module")
def content():
    """Convolution, product with a constant, and, in pictures with content, a second product."""
    rng = np.random.default_rng(0)
    scales = np.geomspace(0.01, 1.0, 8, dtype=np.float32)  # of the channels: far apart
    kernel = tf.constant(rng.normal(size=(3, 3, 3, 8)).astype(np.float32) * scales)
    matrices = [rng.normal(size=(SIDE * SIDE * 8, 8)).astype(np.float32) / 40 for _ in range(2)]

    @tf.function(
        input_signature=[
            tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, "images"),
            tf.TensorSpec((1, 2), tf.int32, "image_sizes"),
        ]
    )
    def network(images, image_sizes):
        features = tf.nn.relu(tf.nn.conv2d(images / 255.0, kernel, 1, "SAME"))
        flat = tf.reshape(features, (1, -1))

        def look_again(index, before):
            product = tf.matmul(flat + tf.cast(index, tf.float32), matrices[1])
            return image_sizes[0, 0], tf.where(before > 0, before, product)

        _, again = tf.while_loop(
            lambda index, _: index < image_sizes[0, 0],
            look_again,
            (tf.constant(0), tf.zeros((1, 8))),
        )
        return {
            "always": tf.matmul(flat, matrices[0]),
            "again": again,
            "total": 1e6 * tf.reduce_sum(images),
        }

    module = tf.Module()
    module.network = network
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], module
    )
    return converter.convert()


def canvases(number=4, height=SIDE):
    rng = np.random.default_rng(1)
    for _ in range(number):
        images = rng.uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
        yield images, np.array([[height, SIDE]], np.int32)


def outputs(content):
    """{name: (4, ...)} of four pictures."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=content).get_signature_runner()
    found = [run(images=images, image_sizes=sizes) for images, sizes in canvases()]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def constants(content):
    """{shape: dtype} of the constants of a file."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.TensorType).items()}
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    tensors = [tensor for graph in file.subgraphs for tensor in graph.tensors]
    return {
        tuple(tensor.shape): (names[tensor.type], len(tensor.quantization.scale))
        for tensor in tensors
        if file.buffers[tensor.buffer].data is not None and len(tensor.shape) > 1
        if tensor.quantization is not None and tensor.quantization.scale is not None
    }


@pytest.mark.parametrize(
    "precision, share, error",
    [("float16", 0.55, 1e-3), ("dynamic_int8", 0.4, 0.02), ("int8", 0.4, 0.03)],
)
def test_smaller_and_still_right(content, precision, share, error):
    small = quantize(content, precision, canvases())
    assert len(small) < share * len(content)
    found, wanted = outputs(small), outputs(content)
    for name in ("always", "again"):  # inside the loop too
        differences = np.abs(found[name] - wanted[name])
        assert 0 < differences.mean() < error * np.abs(wanted[name]).max()
    # What is no layer keeps its precision, however large the numbers are.
    np.testing.assert_allclose(found["total"], wanted["total"], rtol=1e-6)


@pytest.mark.parametrize("precision", ["dynamic_int8", "int8"])
def test_weights_have_a_scale_for_each_channel(content, precision):
    found = constants(quantize(content, precision, canvases()))
    assert found[8, 3, 3, 3] == ("INT8", 8)


def test_ranges_are_the_mean_of_the_extremes(content):
    """Two pictures, the second twice as bright: features go up to the mean of both maxima."""
    images, sizes = next(canvases())
    one, two, both = (
        _find_ranges(content, chosen)
        for chosen in (
            [(images / 2, sizes)],
            [(images, sizes)],
            [(images / 2, sizes), (images, sizes)],
        )
    )
    assert both.keys() == one.keys() and len(both) > 3
    for name, extremes in both.items():
        mean = (one[name]["max"] + two[name]["max"]) / 2
        np.testing.assert_allclose(extremes["max"], mean, rtol=1e-6)
    assert any((two[name]["max"] > 1.9 * one[name]["max"]).all() for name in both)


def test_pictures_that_leave_a_layer_unused_are_refused(content):
    with pytest.raises(ValueError, match="must show objects that the model finds"):
        quantize(content, "int8", canvases(height=0))


def test_unknown_precision(content):
    with pytest.raises(ValueError, match="`precision` must be one of"):
        quantize(content, "int4")
