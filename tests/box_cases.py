"""The box branch on the numbers of the `box_postprocess` reference case."""

import numpy as np

from kmrcnn.config.schema import BoxConfig
from kmrcnn.heads.box import BoxBranch

CLASSES = 5
ROWS = (35, 25)  # proposals of the two images
IMAGE_SIZES = ((120, 150), (100, 160))
MIN_SIZE = {"tv": 1e-2, "d2": 0.0}  # torchvision drops boxes below this


def detect(arrays, system: str, rows=ROWS) -> list[dict[str, np.ndarray]]:
    """Detections of each image, without padding.

    The reference has its background first and a set of deltas for it: the logits are rotated, the
    set is dropped.
    """
    config = BoxConfig(max_detections=20, min_size=MIN_SIZE[system])
    logits = np.roll(arrays["cls_logits"], -1, axis=-1)
    deltas = arrays["box_deltas"].reshape(-1, CLASSES + 1, 4)[:, 1:]
    outputs = {"class_logits": _padded(logits, rows), "box_deltas": _padded(deltas, rows)}
    proposals = {
        "boxes": _padded(arrays["proposals"], rows),
        "valid": np.arange(max(rows))[None] < np.array(rows)[:, None],
    }
    sizes = np.array(IMAGE_SIZES[: len(rows)], "int32")
    found = BoxBranch(config, None, CLASSES).decode(outputs, proposals, sizes)
    found = {name: np.asarray(value) for name, value in found.items()}
    return [{k: v[i][found["valid"][i]] for k, v in found.items()} for i in range(len(rows))]


def reference(arrays, system: str, image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and classes (0..K-1) that the system found."""
    boxes, scores = (arrays[f"{system}_{name}{image}"] for name in ("boxes", "scores"))
    if system == "tv":
        return boxes, scores, arrays[f"tv_labels{image}"] - 1
    return boxes, scores, arrays[f"d2_classes{image}"]


def _padded(values, rows):
    """(B, R, ...) from the rows of all images, one after another."""
    parts = np.split(values, np.cumsum(rows)[:-1])
    out = np.zeros((len(rows), max(rows), *values.shape[1:]), "float32")
    for target, part in zip(out, parts):
        target[: len(part)] = part
    return out
