"""Matterport's Mask R-CNN in inference, written down a second time from its rules, on TensorFlow.

Boxes are its own here: y1, x1, y2, x2, divided by the canvas's sides less one pixel, the far edges
first moved by one pixel. One picture at a time, plainly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import skimage.transform
import tensorflow as tf

STD = np.float32([0.1, 0.1, 0.2, 0.2])


@dataclass
class Settings:
    """Of its Config class."""

    min_dim: int = 192
    max_dim: int = 256
    scales: tuple = (32, 64, 128, 256, 512)
    ratios: tuple = (0.5, 1, 2)
    proposals: int = 150
    rpn_limit: int = 6000
    rpn_threshold: float = 0.7
    min_confidence: float = 0.3
    nms_threshold: float = 0.3
    max_instances: int = 30
    mean: np.ndarray = field(default_factory=lambda: np.float32([123.7, 116.8, 103.9]))


def mold(image: np.ndarray, settings: Settings) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Canvas (H, H, 3) with the picture in its middle, and its window y1, x1, y2, x2 in pixels."""
    height, width = image.shape[:2]
    scale = max(1, settings.min_dim / min(height, width))
    if round(max(height, width) * scale) > settings.max_dim:
        scale = settings.max_dim / max(height, width)
    if scale != 1:
        size = round(height * scale), round(width * scale)
        image = skimage.transform.resize(
            image, size, order=1, mode="constant", preserve_range=True, anti_aliasing=False
        ).astype("uint8")
    height, width = image.shape[:2]
    top, left = (settings.max_dim - height) // 2, (settings.max_dim - width) // 2
    canvas = np.zeros((settings.max_dim, settings.max_dim, 3), "float32")
    canvas[top : top + height, left : left + width] = image
    return canvas - settings.mean, (top, left, top + height, left + width)


def pyramid(layers, canvas: np.ndarray, blocks) -> dict[str, tf.Tensor]:
    """P2..P6 of one canvas."""
    x = tf.pad(canvas[None], [(0, 0), (3, 3), (3, 3), (0, 0)])
    x = _conv_norm(layers, "conv1", "bn_conv1", x, 2, "VALID")
    x = tf.nn.max_pool2d(tf.nn.relu(x), 3, 2, "SAME")
    levels = []
    for stage, count in enumerate(blocks, start=2):
        for block in range(count):
            x = _block(layers, f"{stage}{chr(97 + block)}", x, first=block == 0)
        levels.append(x)
    merged, found = None, {}
    for number in (5, 4, 3, 2):
        x = _conv(layers[f"fpn_c{number}p{number}"], levels[number - 2])
        if merged is not None:
            x = x + tf.repeat(tf.repeat(merged, 2, axis=1), 2, axis=2)
        merged = x
        found[f"P{number}"] = _conv(layers[f"fpn_p{number}"], x)
    found["P6"] = tf.nn.max_pool2d(found["P5"], 1, 2, "VALID")
    return dict(sorted(found.items()))


def _block(layers, name, x, first):
    strides = 2 if first and name[0] != "2" else 1
    branch = f"{name}_branch"
    y = tf.nn.relu(_conv_norm(layers, f"res{branch}2a", f"bn{branch}2a", x, strides))
    y = tf.nn.relu(_conv_norm(layers, f"res{branch}2b", f"bn{branch}2b", y))
    y = _conv_norm(layers, f"res{branch}2c", f"bn{branch}2c", y)
    if first:
        x = _conv_norm(layers, f"res{branch}1", f"bn{branch}1", x, strides)
    return tf.nn.relu(x + y)


def _conv(layer, x, strides=1, padding="SAME"):
    return tf.nn.conv2d(x, layer["kernel"], strides, padding) + layer["bias"]


def _conv_norm(layers, conv, norm, x, strides=1, padding="SAME"):
    return _norm(layers[norm], _conv(layers[conv], x, strides, padding))


def _norm(norm, x):
    mean, variance = norm["moving_mean"], norm["moving_variance"]
    return tf.nn.batch_normalization(x, mean, variance, norm["beta"], norm["gamma"], 1e-3)


def rpn(layers, features) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of objects (A,) and deltas (A, 4) = dy, dx, dh, dw, of all levels."""
    scores, deltas = [], []
    for x in features.values():
        x = tf.nn.relu(_conv(layers["rpn_conv_shared"], x))
        logits = tf.reshape(_conv(layers["rpn_class_raw"], x), (-1, 2))
        scores.append(tf.nn.softmax(logits)[:, 1])
        deltas.append(tf.reshape(_conv(layers["rpn_bbox_pred"], x), (-1, 4)))
    return np.concatenate(scores), np.concatenate(deltas)


def anchors(settings: Settings) -> np.ndarray:
    """(A, 4), divided by the canvas."""
    found = []
    for level, scale in enumerate(settings.scales, start=2):
        stride, cells = 2**level, -(-settings.max_dim // 2**level)
        for row in range(cells):
            for column in range(cells):
                for ratio in settings.ratios:
                    half_height = scale / np.sqrt(ratio) / 2
                    half_width = scale * np.sqrt(ratio) / 2
                    y, x = row * stride, column * stride
                    found.append([y - half_height, x - half_width, y + half_height, x + half_width])
    return divide(np.array(found), settings)


def divide(boxes, settings: Settings) -> np.ndarray:
    """Pixels y1, x1, y2, x2 -> its fractions of the canvas."""
    return ((np.asarray(boxes) - [0, 0, 1, 1]) / (settings.max_dim - 1)).astype("float32")


def apply_deltas(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    sides = sides * np.exp(deltas[:, 2:])
    return np.concatenate([centres - 0.5 * sides, centres + 0.5 * sides], 1).astype("float32")


def propose(scores, deltas, settings: Settings) -> np.ndarray:
    """Proposals (n, 4). Those without area, off the canvas, are left out, unlike there."""
    best = np.argsort(-scores, kind="stable")[: settings.rpn_limit]
    boxes = np.clip(apply_deltas(anchors(settings)[best], deltas[best] * STD), 0, 1)
    scores = scores[best]
    real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes, scores = boxes[real], scores[real]
    kept = tf.image.non_max_suppression(boxes, scores, settings.proposals, settings.rpn_threshold)
    return boxes[kept.numpy()]


def levels_of(boxes: np.ndarray, settings: Settings) -> np.ndarray:
    sides = boxes[:, 2:] - boxes[:, :2]
    area = settings.max_dim**2
    with np.errstate(divide="ignore"):
        level = 4 + np.rint(np.log2(np.sqrt(sides[:, 0] * sides[:, 1]) / (224 / np.sqrt(area))))
    return np.clip(level, 2, 5).astype(int)


def pool(features, boxes: np.ndarray, size: int, settings: Settings) -> np.ndarray:
    """(n, size, size, C).

    Boxes that end at the canvas's edge are made a millionth shorter: TensorFlow's operator gives
    zeros for their last row or column where rounding puts it past the map, in some boxes only.
    """
    levels = levels_of(boxes, settings)
    boxes = np.minimum(boxes, np.float32(1 - 1e-6))
    pooled = np.zeros((len(boxes), size, size, features["P2"].shape[-1]), "float32")
    for level in range(2, 6):
        rows = np.nonzero(levels == level)[0]
        crops = tf.image.crop_and_resize(
            features[f"P{level}"], boxes[rows], np.zeros(len(rows), "int32"), (size, size)
        )
        pooled[rows] = crops
    return pooled


def classify(layers, features, boxes, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, K + 1), the background first, and deltas (n, K + 1, 4)."""
    x = pool(features, boxes, 7, settings)
    for i, padding in ((1, "VALID"), (2, "SAME")):
        conv, norm = f"mrcnn_class_conv{i}", f"mrcnn_class_bn{i}"
        x = tf.nn.relu(_conv_norm(layers, conv, norm, x, 1, padding))
    x = x[:, 0, 0]
    logits, deltas = (
        (x @ layer["kernel"] + layer["bias"]).numpy()
        for layer in (layers["mrcnn_class_logits"], layers["mrcnn_bbox_fc"])
    )
    return tf.nn.softmax(logits).numpy(), deltas.reshape(len(boxes), -1, 4)


def refine(boxes, scores, deltas, window, settings: Settings):
    """Boxes (d, 4), classes (d,) from 1 on, scores (d,): best first."""
    classes = scores.argmax(1)
    rows = np.arange(len(boxes))
    best = scores[rows, classes]
    boxes = apply_deltas(boxes, deltas[rows, classes] * STD)
    low = np.float32([window[0], window[1]] * 2)
    high = np.float32([window[2], window[3]] * 2)
    boxes = np.minimum(np.maximum(boxes, low), high)
    chosen = []
    for wanted in range(1, scores.shape[1]):
        rows = np.nonzero((classes == wanted) & (best >= settings.min_confidence))[0]
        if len(rows):
            kept = tf.image.non_max_suppression(
                boxes[rows], best[rows], settings.max_instances, settings.nms_threshold
            )
            chosen.extend(rows[kept.numpy()])
    chosen = sorted(chosen, key=lambda row: -best[row])[: settings.max_instances]
    return boxes[chosen], classes[chosen], best[chosen]


def masks(layers, features, boxes, classes, settings: Settings) -> np.ndarray:
    """(d, 28, 28) probabilities."""
    x = pool(features, boxes, 14, settings)
    for i in range(1, 5):
        x = tf.nn.relu(_conv_norm(layers, f"mrcnn_mask_conv{i}", f"mrcnn_mask_bn{i}", x))
    layer = layers["mrcnn_mask_deconv"]
    shape = (len(boxes), 28, 28, layer["kernel"].shape[2])
    x = tf.nn.conv2d_transpose(x, layer["kernel"], shape, 2, "VALID") + layer["bias"]
    x = tf.sigmoid(_conv(layers["mrcnn_mask"], tf.nn.relu(x))).numpy()
    return x[np.arange(len(boxes)), :, :, classes]


def unmold(boxes, small, window, size):
    """Whole boxes y1, x1, y2, x2 (d, 4) and masks (d, H, W) of the picture; `window` divided."""
    top, left, bottom, right = window
    shift, scale = np.array([top, left] * 2), np.array([bottom - top, right - left] * 2)
    height, width = size
    pixels = np.array([height - 1, width - 1] * 2)
    boxes = np.around((boxes - shift) / scale * pixels + [0, 0, 1, 1]).astype(int)
    full = np.zeros((len(boxes), height, width), bool)
    for out, (y1, x1, y2, x2), mask in zip(full, boxes, small):
        if y2 > y1 and x2 > x1:
            out[y1:y2, x1:x2] = 0.5 <= skimage.transform.resize(
                mask, (y2 - y1, x2 - x1), order=1, mode="constant", anti_aliasing=False
            )
    return boxes, full
