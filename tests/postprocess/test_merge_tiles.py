"""What belongs together across seams: two tiles side by side, four around a corner."""

import numpy as np
import pytest

from kmrcnn.postprocess.merge_tiles import SeamRule, Tile, merge_tiles
from kmrcnn.structures.detections import Detections

HEIGHT, WIDTH = 100, 180
LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(0, 80, 100, 180)  # share columns 80..99


def tile_size(tile: Tile) -> tuple[int, int]:
    return tile.bottom - tile.top, tile.right - tile.left


def seen(tile: Tile, *objects, masks: bool = True, keypoints=None) -> Detections:
    """What a tile sees of (x1, y1, x2, y2, score, class) rectangles of the picture."""
    corner = np.float32([tile.left, tile.top] * 2)
    limit = np.float32(tile_size(tile)[::-1] * 2)
    values = np.float32(objects).reshape(-1, 6)
    boxes = np.clip(values[:, :4] - corner, 0, limit)
    bitmaps = np.zeros((len(boxes), *tile_size(tile)), bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.astype(int)):
        bitmap[y1:y2, x1:x2] = True
    scores, classes = values[:, 4], values[:, 5].astype(int)
    bitmaps = bitmaps if masks else None
    return Detections(boxes, scores, classes, tile_size(tile), bitmaps, keypoints=keypoints)


def merged(left, right, rule: SeamRule | None = None, **options) -> list[tuple]:
    """(x1, y1, x2, y2, score, class) of what is left of the objects that both tiles saw."""
    parts = [seen(LEFT, *left, **options), seen(RIGHT, *right, **options)]
    found = merge_tiles([LEFT, RIGHT], parts, (HEIGHT, WIDTH), rule or SeamRule())
    if options.get("masks", True):
        for box, mask in zip(found.boxes.astype(int), found.mask_crops()):
            assert mask.box().tolist() == box.tolist() and mask.bitmap.all()
    return [
        (*box, round(score, 2), number)
        for box, score, number in zip(
            found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()
        )
    ]


@pytest.mark.parametrize("masks", [True, False])
def test_objects_of_one_tile_stay_and_move(masks):
    left, right = (10, 10, 30, 30, 0.8, 0), (120, 40, 150, 60, 0.9, 1)
    assert merged([left], [right], masks=masks) == [right, left]  # the best score first


@pytest.mark.parametrize("masks", [True, False])
def test_whole_in_both_tiles_is_found_once_with_the_better_score(masks):
    box = (86.0, 20.0, 95.0, 40.0)
    assert merged([(*box, 0.7, 0)], [(*box, 0.9, 0)], masks=masks) == [(*box, 0.9, 0)]


@pytest.mark.parametrize("masks", [True, False])
def test_fragment_goes_even_if_it_scores_more(masks):
    whole = (90.0, 20.0, 120.0, 40.0)
    assert merged([(*whole, 0.99, 0)], [(*whole, 0.6, 0)], masks=masks) == [(*whole, 0.6, 0)]


@pytest.mark.parametrize("masks", [True, False])
def test_what_no_tile_has_whole_is_united(masks):
    long = (20.0, 20.0, 160.0, 40.0)
    assert merged([(*long, 0.7, 0)], [(*long, 0.8, 0)], masks=masks) == [(*long, 0.8, 0)]


def test_around_a_corner_four_parts_are_one_object():
    tiles = [Tile(y, x, y + 100, x + 100) for y in (0, 80) for x in (0, 80)]
    large = (20, 30, 170, 160, 0.5, 0)
    parts = [seen(tile, (*large[:4], 0.5 + 0.1 * i, 0)) for i, tile in enumerate(tiles)]
    found = merge_tiles(tiles, parts, (180, 180), SeamRule())
    assert found.boxes.tolist() == [[20, 30, 170, 160]]
    assert found.masks.crop(0).bitmap.sum() == 150 * 130
    assert found.scores[0] == pytest.approx(0.8)


def test_neighbours_in_the_overlap_stay_apart():
    one, other = (82, 10, 92, 30, 0.9, 0), (93, 10, 99, 30, 0.8, 0)
    found = merged([one, other], [one, other])
    assert sorted(found) == sorted([one, other])


def test_different_classes_stay_apart_unless_one_is_a_fragment_of_the_other():
    box = (86, 20, 95, 40)
    assert len(merged([(*box, 0.7, 0)], [(*box, 0.9, 1)])) == 2
    across = (90, 20, 120, 40)
    assert merged([(*across, 0.9, 0)], [(*across, 0.6, 1)]) == [(*across, 0.6, 1)]
    long = (20, 20, 160, 40)
    assert len(merged([(*long, 0.7, 0)], [(*long, 0.8, 1)])) == 2


def test_a_small_object_on_a_large_one_stays():
    large, small = (10, 10, 97, 90, 0.9, 0), (84, 40, 90, 46, 0.8, 0)
    assert sorted(merged([large, small], [small])) == sorted([large, small])


def test_rule_decides():
    """The right tile sees the left half of what the left tile sees in the common columns."""
    left, right = (85, 20, 95, 40, 0.9, 0), (85, 20, 90, 40, 0.8, 0)
    assert len(merged([left], [right], SeamRule(min_iou=0.4))) == 1
    assert len(merged([left], [right], SeamRule(min_iou=0.6))) == 2


def test_borders_of_the_picture_cut_nothing():
    """An object at the picture's own edge is whole: its better detection stays, not the union."""
    left, right = (86, 0, 95, 20, 0.9, 0), (87, 0, 95, 21, 0.8, 0)
    assert merged([left], [right]) == [left]


def test_empty_masks_are_compared_by_their_boxes():
    box = (86, 20, 95, 40)
    parts = [seen(LEFT, (*box, 0.7, 0)), seen(RIGHT, (*box, 0.9, 0))]
    for part in parts:
        part.masks[:] = False
    found = merge_tiles([LEFT, RIGHT], parts, (HEIGHT, WIDTH), SeamRule())
    assert len(found) == 1 and not np.asarray(found.masks).any()


def test_keypoints_move_and_are_those_of_the_best_part():
    long = (20, 20, 160, 40)
    points = [np.float32([[[50, 30, 0.5]]]), np.float32([[[40, 31, 0.6]]])]
    parts = [
        seen(tile, (*long, score, 0), keypoints=points[i])
        for i, (tile, score) in enumerate([(LEFT, 0.7), (RIGHT, 0.8)])
    ]
    found = merge_tiles([LEFT, RIGHT], parts, (HEIGHT, WIDTH), SeamRule())
    np.testing.assert_allclose(found.keypoints, [[[120, 31, 0.6]]])


@pytest.mark.parametrize("masks", [True, False])
def test_nothing_found(masks):
    assert merged([], [], masks=masks) == []
    one = (10, 10, 30, 30, 0.5, 0)
    assert merged([one], [], masks=masks) == [one]


def test_one_tile_is_the_picture():
    one = (10, 10, 100, 30, 0.5, 0)
    found = merge_tiles([LEFT], [seen(LEFT, one)], (100, 100), SeamRule())
    assert found.boxes.tolist() == [[10, 10, 100, 30]] and found.image_size == (100, 100)
