"""Drawn detections: the right pixels in the right colours, at every size, and quickly."""

import dataclasses
import time

import numpy as np
import pytest

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.keypoint_layout import KeypointLayout
from kmrcnn.visualize.colors import NUM_COLORS, class_color, text_color
from kmrcnn.visualize.draw import as_rgb, draw_detections
from kmrcnn.visualize.labels import Label, draw_labels

NAMES = ("cat", "dog", "person")
GREY = np.full((120, 160, 3), 128, np.uint8)


def make(boxes, classes=None, image_size=(120, 160), masks=True, names=NAMES) -> Detections:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    bitmaps = np.zeros((len(boxes), *image_size), bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.astype(int)):
        bitmap[y1:y2, x1:x2] = True
    classes = np.zeros(len(boxes), int) if classes is None else classes
    scores = np.linspace(0.9, 0.5, len(boxes))
    return Detections(boxes, scores, classes, image_size, bitmaps if masks else None, names)


def tint(pixel) -> np.ndarray:
    return np.asarray(pixel, float) - 128


def test_mask_is_tinted_in_its_class_color_and_the_rest_is_left_alone():
    found = make([[40, 40, 80, 90]], classes=np.array([2]))
    picture = draw_detections(GREY, found, labels=False, boxes=False)
    expected = 0.45 * np.array(class_color(2)) + 0.55 * 128
    assert np.abs(picture[60, 60] - expected).max() <= 1
    assert (picture[:35] == 128).all() and (picture[:, 90:] == 128).all()
    assert picture.dtype == np.uint8 and picture.shape == GREY.shape


def test_input_is_not_changed():
    image = GREY.copy()
    draw_detections(image, make([[10, 10, 50, 50]]))
    assert (image == GREY).all()


def test_small_masks_lie_on_large_ones_whatever_the_order():
    boxes = np.array([[10, 10, 150, 110], [60, 50, 80, 70]])
    for order in ([0, 1], [1, 0]):
        found = make(boxes[order], classes=np.array(order))
        picture = draw_detections(GREY, found, labels=False, boxes=False)
        expected = 0.45 * np.array(class_color(1)) + 0.55 * 128
        assert np.abs(picture[60, 70] - expected).max() <= 1


@pytest.mark.parametrize("masks", [True, False])
def test_boxes_are_drawn_on_their_edges_even_at_the_border(masks):
    found = make([[0, 0, 160, 120]], masks=masks)
    bare = draw_detections(GREY, found, labels=False, boxes=False, masks=False)
    assert (bare == 128).all()
    picture = draw_detections(GREY, found, labels=False, masks=False)
    edges = [picture[60, 0], picture[60, 159], picture[0, 80], picture[119, 80]]
    assert min(np.abs(tint(edge)).max() for edge in edges) > 30
    assert (picture[10:110, 10:150] == 128).all()


def test_outline_follows_the_mask():
    found = make([[40, 40, 80, 90]])
    picture = draw_detections(GREY, found, opacity=0.0, labels=False, boxes=False)
    changed = (picture != 128).any(axis=2)
    assert changed[60, 38:42].any() and changed[60, 78:82].any() and changed[38:42, 60].any()
    assert not changed[60, 45:75].any()


def test_labels_stay_inside_and_apart():
    boxes = [[0, 0, 20, 20], [2, 1, 22, 21], [140, 100, 160, 120], [100, 0, 160, 10]]
    tags = draw_only_tags([Label("person 90%", box, (255, 0, 0)) for box in boxes])
    single = draw_only_tags([Label("person 90%", boxes[0], (255, 0, 0))])
    assert tags.sum() == pytest.approx(4 * single.sum(), rel=0.02)  # none cut off, none covered


def draw_only_tags(labels) -> np.ndarray:
    black = np.zeros((120, 160, 3), np.uint8)
    return (draw_labels(black, labels, font_size=11) != 0).any(axis=2)


def test_same_class_has_the_same_color_in_every_picture():
    one = draw_detections(GREY, make([[40, 40, 80, 90]], classes=[1]), labels=False)
    two = draw_detections(GREY, make([[40, 40, 80, 90], [90, 5, 99, 20]], [1, 2]), labels=False)
    assert (one[60, 60] == two[60, 60]).all()


def test_color_by_instance_and_auto():
    boxes = [[10, 10, 60, 60], [80, 10, 130, 60]]
    by_class = draw_detections(GREY, make(boxes), labels=False)
    assert (by_class[30, 30] == by_class[30, 100]).all()
    by_instance = draw_detections(GREY, make(boxes), labels=False, color_by="instance")
    assert (by_instance[30, 30] != by_instance[30, 100]).any()
    single = draw_detections(GREY, make(boxes, names=("coin",)), labels=False)
    assert (single == by_instance).all()
    with pytest.raises(ValueError, match="color_by"):
        draw_detections(GREY, make(boxes), color_by="score")


def test_neighbouring_classes_are_told_apart_and_colors_do_not_depend_on_how_many():
    colors = np.array([class_color(number) for number in range(80)])
    assert len(np.unique(colors, axis=0)) == 80
    gaps = np.abs(colors[:20, None] - colors[None, :20]).sum(axis=-1) + 999 * np.eye(20)
    assert gaps.min() > 60
    assert class_color(NUM_COLORS + 3) == class_color(3)


def test_text_is_dark_on_light_and_light_on_dark():
    assert sum(text_color((255, 240, 100))) < 100 and sum(text_color((60, 0, 120))) > 700


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (9, 9), (24, 30), (700, 900)])
@pytest.mark.parametrize("masks", [True, False])
def test_every_size_of_picture(size, masks):
    height, width = size
    found = make([[0, 0, width, height]], image_size=size, masks=masks)
    picture = draw_detections(np.zeros(size, np.uint8), found)
    assert picture.shape == (*size, 3)


def test_nothing_found_and_empty_mask():
    assert (draw_detections(GREY, Detections.empty((120, 160))) == GREY).all()
    found = make([[10, 10, 60, 60]])
    found = dataclasses.replace(found, masks=np.zeros_like(found.masks))
    assert draw_detections(GREY, found).shape == GREY.shape


@pytest.mark.parametrize("channels", [None, 1, 3, 4, 7])
def test_as_rgb_takes_any_number_of_channels(channels):
    shape = (5, 6) if channels is None else (5, 6, channels)
    image = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    assert as_rgb(image).shape == (5, 6, 3)
    assert (as_rgb(image)[..., 0] == (image if channels is None else image[..., 0])).all()


def test_wrong_pictures_are_rejected():
    with pytest.raises(ValueError, match="size the detections were found in"):
        draw_detections(GREY[:50], make([[1, 1, 5, 5]]))
    with pytest.raises(ValueError, match="uint8"):
        draw_detections(GREY / 255.0, make([[1, 1, 5, 5]]))


def test_a_hundred_detections_are_drawn_quickly():
    random = np.random.default_rng(0)
    low = random.uniform(0, 600, (100, 2))
    boxes = np.hstack([low, low + random.uniform(20, 200, (100, 2))])
    found = make(boxes, random.integers(0, 3, 100), (800, 1066))
    image = np.zeros((800, 1066, 3), np.uint8)
    draw_detections(image, found)
    best = min(_seconds(draw_detections, image, found) for _ in range(3))
    assert best < 1.0  # 0.2 where nothing else runs


def _seconds(function, *args) -> float:
    """Of this thread, not of the clock: others may use the cores."""
    start = time.thread_time()
    function(*args)
    return time.thread_time() - start


def with_keypoints(points, offset=0.5, **layout) -> Detections:
    layout = KeypointLayout(annotation_offset=offset, **layout)
    found = make([[20, 20, 140, 100]], masks=False)
    return dataclasses.replace(found, keypoints=np.float32([points]), keypoint_layout=layout)


def changed(found, **options) -> np.ndarray:
    """Rows and columns of what keypoints add to the picture."""
    options = {"boxes": False, "labels": False} | options
    picture = draw_detections(GREY, found, **options)
    return np.argwhere((picture != GREY).any(axis=-1))


def test_a_keypoint_is_drawn_around_its_place():
    for offset, place in ((0.5, 60.5), (0.0, 60.0)):  # a coordinate, and the number of a pixel
        spots = changed(with_keypoints([[place, place - 20, 0.9]], offset))
        np.testing.assert_allclose(spots.mean(axis=0), [40, 60], atol=0.4)
        assert np.ptp(spots, axis=0).max() < 10


def test_bones_join_visible_points_only():
    points = [[40.5, 40.5, 0.9], [80.5, 40.5, 0.9], [120, 90, 0.01]]
    found = with_keypoints(points, skeleton=((0, 1), (1, 2)))
    spots = changed(found)
    assert (np.abs(spots[:, 0] - 40) < 6).all() and spots[:, 1].max() < 90
    middle = draw_detections(GREY, found, boxes=False, labels=False)[40, 60]
    np.testing.assert_allclose(middle, class_color(0), atol=25)  # antialiased
    lower = dataclasses.replace(found.keypoint_layout, visible_score=0.0)
    assert changed(dataclasses.replace(found, keypoint_layout=lower))[:, 1].max() > 110
    assert len(changed(found, keypoints=False)) == 0


def test_keypoints_beyond_the_picture_do_no_harm():
    points = [[-50, 40, 0.9], [400, 90, 0.9]]
    assert len(changed(with_keypoints(points, skeleton=((0, 1),)))) > 0
