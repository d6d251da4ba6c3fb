"""Examples whose pixels say which object they belong to, to check a transform against its picture.

Object n is painted in the gray value LEVEL * (n + 1) on black, and its class is n.
"""

import numpy as np

from kmrcnn.data.example import Example, MaskCrop

LEVEL = 60
SIZE = (40, 60)
# top, left, height, width
PLACES = ((2, 3, 12, 15), (20, 30, 15, 25), (5, 40, 9, 20))


def painted(places=PLACES, size=SIZE, masks=True, keypoints=True, channels=3, image_id="painted"):
    """Rectangles, each with key points in the middle of its first and of its last pixel."""
    image = np.zeros((*size, channels), np.uint8)
    crops, boxes, points = [], [], []
    for number, (top, left, height, width) in enumerate(places):
        image[top : top + height, left : left + width] = LEVEL * (number + 1)
        crops.append(MaskCrop(np.ones((height, width), bool), top, left))
        boxes.append(crops[-1].box())
        last = left + width - 0.5, top + height - 0.5, 1
        points.append([(left + 0.5, top + 0.5, 2), last, (0, 0, 0)])
    return Example(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(places), dtype=np.int32),
        tuple(crops) if masks else None,
        image_id=image_id,
        keypoints=np.array(points, np.float32).reshape(-1, 3, 3) if keypoints else None,
    )


def painted_masks(image, classes):
    """Masks (N, H, W) bool, as the picture has them."""
    levels = np.rint(image[..., 0] / LEVEL).astype(int)
    return np.array([levels == c + 1 for c in classes], bool).reshape(-1, *image.shape[:2])


def require_agreement(example, tight=True):
    """Masks are exactly the painted pixels, boxes hold them tightly, nothing painted is missing."""
    expected = painted_masks(example.image, example.classes)
    np.testing.assert_array_equal(example.full_masks(), expected)
    assert expected.any(axis=(1, 2)).all()
    present = set(np.unique(np.rint(example.image[..., 0] / LEVEL)).astype(int)) - {0}
    assert {int(c) + 1 for c in example.classes} == present
    for box, mask in zip(example.boxes, expected):
        rows, columns = np.nonzero(mask)
        expected_box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_allclose(box, expected_box, atol=0 if tight else 0.5)


def pixels_under(example, point=0):
    """Gray values of the picture under a key point of every object; 0 where it is unlabelled."""
    x, y, visibility = example.keypoints[:, point].T
    height, width = example.size
    rows, columns = np.clip(y.astype(int), 0, height - 1), np.clip(x.astype(int), 0, width - 1)
    return np.where(visibility > 0, example.image[rows, columns, 0], 0)
