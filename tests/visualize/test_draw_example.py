import numpy as np

from kmrcnn.data.example import Example
from kmrcnn.visualize.draw_example import draw_example

GRAY = np.full((120, 160, 3), 128, np.uint8)


def make_example(**fields):
    masks = np.zeros((2, 120, 160), bool)
    masks[0, 40:80, 20:60] = masks[1, 60:110, 90:150] = True
    plain = Example.from_full_masks(GRAY, masks, [0, 1])
    return Example(GRAY, plain.boxes, plain.classes, plain.masks, **fields)


def test_objects_are_drawn_and_the_rest_stays():
    drawn = draw_example(make_example(), ("cat", "dog"))
    assert drawn.shape == (120, 160, 3) and drawn.dtype == np.uint8
    assert (drawn[60, 40] != 128).any() and (drawn[100, 120] != 128).any()
    assert (drawn[60, 40] != drawn[100, 120]).any()  # a colour per class
    assert (drawn[115:, :80] == 128).all()
    assert (GRAY == 128).all()


def test_keypoints_are_light_where_visible_and_dark_where_hidden():
    keypoints = np.zeros((2, 3, 3), np.float32)
    keypoints[0] = [[30, 100, 2], [60, 100, 1], [10, 10, 0]]
    drawn = draw_example(make_example(keypoints=keypoints), ("cat", "dog"))
    assert drawn[100, 30].min() > 230 and drawn[100, 60].max() < 25
    assert (drawn[8:12, 8:12] == 128).all()


def test_crowds_have_a_longer_label():
    plain = draw_example(make_example(), ("cat", "dog"))
    crowd = draw_example(make_example(is_crowd=np.array([True, False])), ("cat", "dog"))
    label = np.argwhere((plain != crowd).any(axis=2))
    assert label[:, 0].max() < 45 and label[:, 1].max() < 110


def test_a_picture_without_objects_stays_as_it_is():
    empty = Example(GRAY, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), [])
    np.testing.assert_array_equal(draw_example(empty, ("cat",)), GRAY)
