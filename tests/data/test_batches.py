"""Batches of examples."""

import numpy as np
import pytest

from kmrcnn.config.schema import InputConfig
from kmrcnn.data.batches import ExampleBatches
from kmrcnn.data.example import Example

CONFIG = InputConfig(pad_multiple=32)


def example(index, number=3, size=(40, 50)):
    """Rectangles; the picture holds class + 1 in red inside each, and its number in blue."""
    draw = np.random.default_rng(index)
    image, masks = np.zeros((*size, 3), "uint8"), np.zeros((number, *size), bool)
    image[..., 2] = index + 1
    classes = draw.integers(0, 5, number)
    for n in range(number):
        y, x, h, w = 12 * n, int(draw.integers(0, 20)), 5 + n, int(draw.integers(5, 20))
        masks[n, y : y + h, x : x + w] = True
        image[masks[n], 0] = classes[n] + 1
    return Example.from_full_masks(image, masks, classes, index)


EXAMPLES = [example(0), example(1, size=(60, 30)), example(2, 1), example(3), example(4, 0)]


def batch(examples=EXAMPLES, size=2, index=0, **settings):
    config = settings.pop("config", CONFIG)
    return ExampleBatches(examples, config, size, **settings)[index][0]


def numbers(images):
    return images[..., 2].max(axis=(1, 2)).astype(int).tolist()


def test_shapes_and_types():
    inputs = batch(EXAMPLES[:2], max_objects=4)
    targets = inputs["targets"]
    shapes = {
        name: (value.shape, value.dtype.name)
        for name, value in (inputs | targets).items()
        if name != "targets"
    }
    assert shapes == {
        "images": ((2, 64, 64, 3), "float32"),
        "image_sizes": ((2, 2), "int32"),
        "boxes": ((2, 4, 4), "float32"),
        "classes": ((2, 4), "int32"),
        "valid": ((2, 4), "bool"),
        "masks": ((2, 4, 64, 64), "uint8"),
    }


@pytest.mark.parametrize("flip", [False, True])
def test_targets_fit_the_picture(flip):
    for seed in range(6):
        inputs = batch(size=5, seed=seed, flip=flip)
        targets = inputs["targets"]
        assert sorted(targets["valid"].sum(axis=1)) == [0, 1, 3, 3, 3]
        for image, size, *rows in zip(inputs["images"], inputs["image_sizes"], *targets.values()):
            height, width = size
            assert (
                image[:height, :width, 2].all()
                and not image[height:].any()
                and not image[:, width:].any()
            )
            for box, label, valid, mask in zip(*rows):
                if not valid:
                    assert not box.any() and not mask.any()
                    continue
                assert (image[mask > 0][:, 0] == label + 1).all()
                x1, y1, x2, y2 = box.astype(int)
                assert mask[y1:y2, x1:x2].all() and mask.sum() == (y2 - y1) * (x2 - x1) > 0


def test_flips_happen_along_both_axes():
    one = [example(0)]
    seen = {batch(one, 1, seed=s)["images"].tobytes() for s in range(40)}
    assert len(seen) == 4
    assert len({batch(one, 1, seed=s, flip=False)["images"].tobytes() for s in range(10)}) == 1


def test_smallest_objects_are_dropped():
    targets = batch([example(0)], 1, max_objects=2, flip=False)["targets"]
    areas = np.sort(example(0).area)[::-1]
    assert targets["masks"].sum(axis=(0, 2, 3)).tolist() == areas[:2].tolist()


def test_bgr():
    rgb = batch(flip=False)["images"]
    np.testing.assert_array_equal(
        batch(flip=False, config=InputConfig(channel_order="bgr"))["images"], rgb[..., ::-1]
    )


def test_epochs_are_reproducible_permutations():
    def epoch(data):
        return [n for i in range(len(data)) for n in numbers(data[i][0]["images"])]

    data, again = (ExampleBatches(EXAMPLES, CONFIG, 2, seed=3) for _ in range(2))
    assert len(data) == 2  # the fifth is left out
    orders = []
    for _ in range(5):
        orders.append(epoch(data))
        assert orders[-1] == epoch(again) and len(set(orders[-1])) == 4
        data.on_epoch_end()
        again.on_epoch_end()
    assert len(set(map(tuple, orders))) > 1
    assert epoch(ExampleBatches(EXAMPLES, CONFIG, 2, seed=4)) != orders[0]


def test_invisible_objects_and_crowds_are_no_targets():
    base = example(0)
    masks = base.full_masks()
    masks[0] = False
    crowd = np.array([False, False, True])
    crops = Example.from_full_masks(base.image, masks, base.classes)
    changed = Example(base.image, crops.boxes, base.classes, crops.masks, is_crowd=crowd)
    targets = batch([changed], 1, flip=False)["targets"]
    assert targets["valid"].sum() == 1 and targets["classes"][0, 0] == base.classes[1]


@pytest.mark.parametrize("size", [0, 6])
def test_batch_size_is_checked(size):
    with pytest.raises(ValueError, match=f"batch_size={size}, 5 examples"):
        ExampleBatches(EXAMPLES, CONFIG, size)
