"""Makes roi_pool.npz: values and gradients of torchvision.ops.roi_pool, for test_roi_pool.py.

Maps and upstream gradients are whole numbers, so every answer is exact, and equal cells are common.
Run where torch and torchvision are installed: python make_roi_pool.py
"""

from pathlib import Path

import numpy as np
import torch
import torchvision

DRAW = np.random.default_rng(0)


def boxes_on_small_map() -> np.ndarray:
    """(26, 5) image index and corners for maps of 12 x 17 cells of 4 pixels: any position, halves
    of cells, outside the map, inverted, larger than the map.
    """
    corners = DRAW.uniform(-12, 60, (14, 2))
    random = np.concatenate([corners, corners + DRAW.uniform(0, 40, (14, 2))], 1)
    halves = 4 * DRAW.integers(-3, 14, (8, 4)) + 2  # some are inverted
    odd = [[-9, -9, -5, -5], [70, 10, 90, 30], [-30, -30, 100, 100], [8, 8, 8, 8]]
    boxes = np.concatenate([random, halves, odd]).astype("float32")
    return np.concatenate([DRAW.integers(0, 2, (len(boxes), 1)), boxes], 1).astype("float32")


# Sides of 57 and 62 cells: the float32 product 7 * (57 / 7) is above 57, 7 * (62 / 14) below 31.
LONG = np.array([[0, 0, 0, 61, 56], [0, 1, 1, 57, 62], [0, 2, 0, 63, 61]], "float32")

CASES = {  # name: shape of the map, RoIs, stride, output sizes
    "small": ((2, 2, 12, 17), boxes_on_small_map(), 4, ((7, 7), (3, 5))),
    "long": ((1, 1, 64, 64), LONG, 1, ((7, 7), (14, 14))),
}


def pool(maps: np.ndarray, rois: np.ndarray, stride: int, size: tuple[int, int]) -> dict:
    """Pooled values, a gradient with respect to them and the one with respect to the map."""
    maps = torch.tensor(maps, dtype=torch.float32, requires_grad=True)
    pooled = torchvision.ops.roi_pool(maps, torch.tensor(rois), size, 1 / stride)
    upstream = torch.arange(pooled.numel()).reshape(pooled.shape) % 11 - 5
    pooled.backward(upstream.float())
    whole = {"pooled": pooled.detach(), "upstream": upstream, "gradient": maps.grad}
    return {name: value.numpy().astype("int16") for name, value in whole.items()}


if __name__ == "__main__":
    arrays = {
        "versions": np.array(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    }
    for name, (shape, rois, stride, sizes) in CASES.items():
        maps = DRAW.integers(-9, 10, shape).astype("int8")
        arrays |= {f"{name}/map": maps, f"{name}/rois": rois, f"{name}/stride": np.array(stride)}
        for size in sizes:
            for key, value in pool(maps, rois, stride, size).items():
                arrays[f"{name}/{size[0]}x{size[1]}/{key}"] = value
    np.savez_compressed(Path(__file__).resolve().parent / "roi_pool.npz", **arrays)
