"""Synthetic scenes: repeatable, exactly labelled, varied."""

import itertools

import numpy as np
import pytest

from kmrcnn.data.datasets.synthetic import CLASSES, SyntheticScenes

SIZE = (96, 128)


@pytest.fixture(scope="module")
def examples():
    return list(SyntheticScenes(60, SIZE, seed=5, empty_fraction=0.1))


def test_length_and_iteration(examples):
    scenes = SyntheticScenes(60, SIZE, seed=5, empty_fraction=0.1)
    assert len(scenes) == len(examples) == 60
    assert [example.image_id for example in examples] == list(range(60))


def test_same_seed_and_index_give_the_same_picture(examples):
    scenes = SyntheticScenes(60, SIZE, seed=5, empty_fraction=0.1)
    for index in (7, 0, 59, -1):  # in another order
        again = scenes[index]
        np.testing.assert_array_equal(again.image, examples[index].image)
        np.testing.assert_array_equal(again.boxes, examples[index].boxes)
        np.testing.assert_array_equal(again.classes, examples[index].classes)
        np.testing.assert_array_equal(again.full_masks(), examples[index].full_masks())


def test_a_longer_dataset_starts_alike(examples):
    scenes = SyntheticScenes(1000, SIZE, seed=5, empty_fraction=0.1)
    np.testing.assert_array_equal(scenes[3].image, examples[3].image)


def test_other_seeds_and_indices_give_other_pictures(examples):
    other = SyntheticScenes(2, image_size=SIZE, seed=6)
    assert (other[0].image != examples[0].image).mean() > 0.5
    assert (examples[1].image != examples[0].image).mean() > 0.5


def test_shapes_and_dtypes(examples):
    for example in examples:
        count = len(example.boxes)
        assert example.image.shape == (*SIZE, 3)
        assert example.image.dtype == np.uint8
        assert example.boxes.shape == (count, 4)
        assert example.classes.dtype == np.int32
        assert example.full_masks().shape == (count, *SIZE)
        assert not example.is_crowd.any()


def test_boxes_are_tight_and_areas_count_pixels(examples):
    for example in examples:
        for box, area, mask in zip(example.boxes, example.area, example.full_masks()):
            rows, columns = np.nonzero(mask)
            tight = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_array_equal(box, tight)
            assert area == mask.sum()


def test_visible_masks_are_disjoint_and_not_tiny(examples):
    for example in examples:
        masks = example.full_masks()
        assert masks.sum(0).max(initial=0) <= 1
        assert (masks.sum((1, 2)) >= 24).all()


def test_all_classes_and_empty_pictures_appear(examples):
    seen = set(itertools.chain.from_iterable(example.classes.tolist() for example in examples))
    assert seen == set(range(len(CLASSES)))
    assert 0 < sum(len(example.boxes) == 0 for example in examples) < 15
    assert max(len(example.boxes) for example in examples) > 10


def test_some_objects_are_partly_hidden():
    """The mask of a covered object is smaller than that of the same object alone."""
    scenes = SyntheticScenes(20, image_size=SIZE, seed=1, min_visible=0.0, coin_fraction=0)
    strict = SyntheticScenes(20, image_size=SIZE, seed=1, min_visible=0.95, coin_fraction=0)
    counts = np.array([(len(a.boxes), len(b.boxes)) for a, b in zip(scenes, strict)])
    assert (counts[:, 1] <= counts[:, 0]).all()
    assert counts[:, 1].sum() < 0.8 * counts[:, 0].sum()


def test_masks_follow_the_picture():
    """Where objects are set apart from a calm ground, pixels inside differ from those around."""
    differences = []
    for example in SyntheticScenes(30, image_size=SIZE, seed=2, coin_fraction=0, empty_fraction=0):
        gray = example.image.mean(2)
        masks = example.full_masks()
        outside = ~masks.any(0)
        for mask in masks:
            rows, columns = np.nonzero(mask)
            near = np.zeros(SIZE, bool)
            near[max(rows.min() - 3, 0) : rows.max() + 4, max(columns.min() - 3, 0) :][
                :, : columns.max() + 7 - columns.min()
            ] = True
            ring = near & outside
            if ring.sum() > 20:
                differences.append(abs(gray[mask].mean() - gray[ring].mean()))
    assert np.median(differences) > 15


def test_coins_only_and_gray_only():
    scenes = SyntheticScenes(12, image_size=SIZE, coin_fraction=1, gray_fraction=1)
    for example in scenes:
        assert (example.classes == 0).all()
        np.testing.assert_array_equal(example.image[..., 0], example.image[..., 2])


def test_colour_pictures_have_colour():
    scenes = SyntheticScenes(5, image_size=SIZE, gray_fraction=0)
    assert all((example.image[..., 0] != example.image[..., 2]).any() for example in scenes)


def test_class_numbers_follow_the_given_order():
    scenes = SyntheticScenes(12, image_size=SIZE, classes=("star", "coin"), coin_fraction=1)
    classes = np.concatenate([example.classes for example in scenes])
    assert (classes == 1).all() and len(classes) > 0


def test_max_objects_is_kept():
    for example in SyntheticScenes(30, image_size=SIZE, max_objects=3, radius=(0.03, 0.05)):
        assert len(example.boxes) <= 3


@pytest.mark.parametrize("image_size", [(32, 32), (33, 70), (303, 384)])
def test_unusual_sizes(image_size):
    for example in SyntheticScenes(6, image_size=image_size):
        assert example.size == image_size


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"num_images": -1}, "num_images"),
        ({"seed": -1}, "seed"),
        ({"image_size": (16, 256)}, "image_size"),
        ({"image_size": (256, 256, 3)}, "image_size"),
        ({"classes": ("coin", "unicorn")}, "unicorn"),
        ({"classes": ("coin", "coin")}, "different"),
        ({"classes": ()}, "classes"),
        ({"radius": (0.2, 0.1)}, "radius"),
        ({"coin_fraction": 1.5}, "coin_fraction"),
        ({"min_visible": -0.1}, "min_visible"),
        ({"max_objects": 0}, "max_objects"),
        ({"min_pixels": 0}, "min_pixels"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        SyntheticScenes(**{"num_images": 4, **arguments})


@pytest.mark.parametrize("index", [4, -5])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(IndexError, match="4 pictures"):
        SyntheticScenes(4, image_size=SIZE)[index]
