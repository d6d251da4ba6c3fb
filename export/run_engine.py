"""Runs a TensorRT engine of kmrcnn on a picture: numpy, tensorrt and cuda-python are all it needs.

    python3 run_engine.py street.ppm
    python3 run_engine.py street.jpg --engine model_float16.engine --output street.npz

Pillow reads pictures other than .npy (H, W, C) and binary .ppm, and does the resizing of models
that resize as Pillow does. metadata.json must lie beside this file. Python 3.8 (JetPack 5) will
do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time

import numpy as np


class Engine:
    """An engine and its buffers on the GPU, for TensorRT 8.5 and later.

    Args:
        path: The .engine file.
    """

    def __init__(self, path):
        import tensorrt as trt

        self._trt = trt
        self._cuda = _import_cuda()
        logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(logger, "")
        with open(path, "rb") as file:
            self._engine = trt.Runtime(logger).deserialize_cuda_engine(file.read())
        if self._engine is None:
            raise RuntimeError(
                f"TensorRT {trt.__version__} cannot load {path}: an engine fits the GPU and the "
                "version it was built with."
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._call("cudaStreamCreate")
        self._buffers = {}  # name: (address, bytes)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        inputs = [self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names]
        self.inputs = [name for name, is_input in zip(names, inputs) if is_input]
        self.outputs = [name for name, is_input in zip(names, inputs) if not is_input]

    def run(self, feeds):
        """Arrays by name in, arrays by name out."""
        for name in self.inputs:
            dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            array = np.ascontiguousarray(feeds[name], dtype)
            self._context.set_input_shape(name, array.shape)
            self._bind(name, array.nbytes)
            self._copy(self._buffers[name][0], array.ctypes.data, array.nbytes, "HostToDevice")
        results = {}
        for name in self.outputs:
            dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            results[name] = np.empty(tuple(self._context.get_tensor_shape(name)), dtype)
            self._bind(name, results[name].nbytes)
        if not self._context.execute_async_v3(self._stream):
            raise RuntimeError("TensorRT could not run the engine; it says why on stderr.")
        self._call("cudaStreamSynchronize", self._stream)
        for name, array in results.items():
            self._copy(array.ctypes.data, self._buffers[name][0], array.nbytes, "DeviceToHost")
        return results

    def _bind(self, name, size):
        address, available = self._buffers.get(name, (None, 0))
        if size > available:
            if address is not None:
                self._call("cudaFree", address)
            address = self._call("cudaMalloc", size)
            self._buffers[name] = (address, size)
        self._context.set_tensor_address(name, int(address))

    def _copy(self, target, source, size, direction):
        kind = getattr(self._cuda.cudaMemcpyKind, "cudaMemcpy" + direction)
        self._call("cudaMemcpy", target, source, size, kind)

    def _call(self, name, *arguments):
        """A function of the CUDA runtime: its result, or an error."""
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise RuntimeError(f"{name} failed: {status}")
        return values[0] if values else None


def _import_cuda():
    try:
        from cuda.bindings import runtime  # cuda-python 12.6 and later
    except ImportError:
        from cuda import cudart as runtime
    return runtime


def read_picture(path, channels):
    """(H, W, channels) uint8, RGB where channels = 3."""
    if path.endswith(".npy"):
        image = np.load(path)
    elif path.endswith(".ppm"):
        image = _read_ppm(path)
    else:
        from PIL import Image, ImageOps

        picture = ImageOps.exif_transpose(Image.open(path))
        image = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        image = image.reshape(image.shape[0], image.shape[1], -1)
    if image.ndim != 3 or image.shape[2] != channels:
        raise SystemExit(f"{path} has shape {image.shape}, not (H, W, {channels}).")
    return image


def _read_ppm(path):
    """Binary PPM of 8 bits: the header is four words, with comments from # to the line's end."""
    with open(path, "rb") as file:
        data = file.read()
    words, place = [], 0
    while len(words) < 4:
        end = place
        while end < len(data) and not data[end : end + 1].isspace():
            end += 1
        word = data[place:end]
        if word.startswith(b"#"):
            end = data.index(b"\n", end)
        elif word:
            words.append(word)
        place = end + 1
    if words[0] != b"P6" or int(words[3]) != 255:
        raise SystemExit(f"{path} is no binary PPM of 8 bits.")
    width, height = int(words[1]), int(words[2])
    return np.frombuffer(data, np.uint8, height * width * 3, place).reshape(height, width, 3)


def to_canvas(image, metadata):
    """A picture resized as the model wants it, or further if it would not fit, and padded.

    Returns:
        (height, width, C) float32, zeros below and on the right; (height, width) of the content.
    """
    settings, canvas = metadata["preprocessing"], metadata["image_size"]
    size = network_size(image.shape[:2], settings)
    if size[0] > canvas[0] or size[1] > canvas[1]:
        scale = min(canvas[0] / image.shape[0], canvas[1] / image.shape[1])
        longest = max(1, math.floor(max(image.shape[:2]) * scale + 1e-6))
        fitting = dict(settings, short_side=max(canvas), long_side=longest)
        size = network_size(image.shape[:2], fitting)
    if settings["resize"] == "antialiased_uint8":
        resized = _resize_as_pillow(image, size)
    else:
        resized = _resize_bilinear(image.astype(np.float32), size)
    padded = np.zeros((canvas[0], canvas[1], image.shape[2]), np.float32)
    padded[: size[0], : size[1]] = resized
    return padded, size


def network_size(picture_size, settings):
    """(height, width): the short side as the model wants it, unless the long one is too long."""
    short_side, long_side = settings["short_side"], settings["long_side"]
    short, long = min(picture_size), max(picture_size)
    if settings["size_rounding"] == "floor":
        scale = min(short_side / short, long_side / long)
        return tuple(math.floor(side * scale) for side in picture_size)
    scale = short_side / short
    sides = [short_side if side == short else side * scale for side in picture_size]
    if max(sides) > long_side:
        shrink = long_side / max(sides)
        sides = [side * shrink for side in sides]
    return tuple(int(side + 0.5) for side in sides)


def _resize_bilinear(image, size):
    """Half-pixel bilinear, no antialiasing."""
    for axis, length in enumerate(size):
        available = image.shape[axis]
        if available == length:
            continue
        steps = np.arange(length, dtype=np.float32) + np.float32(0.5)
        position = np.maximum(np.float32(available / length) * steps - np.float32(0.5), 0)
        low = np.minimum(position.astype(np.int64), available - 1)
        high = np.minimum(low + 1, available - 1)
        fraction = np.expand_dims(
            position - low.astype(np.float32), (1, 2) if axis == 0 else (0, 2)
        )
        at_low = np.take(image, low, axis)
        image = at_low + (np.take(image, high, axis) - at_low) * fraction
    return image


def _resize_as_pillow(image, size):
    from PIL import Image

    planes = [Image.fromarray(np.ascontiguousarray(image[:, :, c])) for c in range(image.shape[2])]
    resized = [np.asarray(plane.resize(size[::-1], Image.BILINEAR)) for plane in planes]
    return np.dstack(resized).astype(np.float32)


def to_picture(outputs, size, picture_size):
    """The detections of the first picture, boxes in its own pixels.

    Args:
        outputs: Of the engine.
        size: (height, width) of the content on the canvas.
        picture_size: (height, width) of the original.
    """
    number = int(outputs["num_detections"][0])
    names = ("boxes", "scores", "classes", "masks")
    found = {name: outputs[name][0, :number] for name in names if name in outputs}
    scale = np.array([picture_size[1] / size[1], picture_size[0] / size[0]] * 2, np.float32)
    found["boxes"] = found["boxes"] * scale
    return found


def main():
    """Detections of a picture, one line each."""
    parser = argparse.ArgumentParser(description="Run an engine on a picture.")
    parser.add_argument("picture", help=".npy, .ppm or, with Pillow, any other")
    parser.add_argument("--engine", help="default: that of metadata.json's precision")
    parser.add_argument("--output", help=".npz for boxes, scores, classes and masks")
    options = parser.parse_args()
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "metadata.json")) as file:
        metadata = json.load(file)
    name = f"model_{metadata['precision']}.engine"
    engine = Engine(options.engine or os.path.join(folder, name))
    image = read_picture(options.picture, metadata["inputs"]["images"]["shape"][3])
    canvas, size = to_canvas(image, metadata)
    batch = metadata["batch_size"] or 1
    feeds = {
        "images": np.repeat(canvas[None], batch, axis=0),
        "image_sizes": np.array([size] * batch, np.int32),
    }
    engine.run(feeds)  # the first run is slower
    start = time.perf_counter()
    outputs = engine.run(feeds)
    print(f"{(time.perf_counter() - start) * 1e3:.1f} ms for a batch of {batch}")
    found = to_picture(outputs, size, image.shape[:2])
    for box, score, index in zip(found["boxes"], found["scores"], found["classes"]):
        corners = " ".join(f"{value:.1f}" for value in box)
        print(f"{metadata['classes'][int(index)]} {score:.3f}  {corners}")
    if options.output:
        np.savez(options.output, **found)


if __name__ == "__main__":
    main()
