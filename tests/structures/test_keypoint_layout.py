"""Which keypoints belong together."""

from kmrcnn.config.schema import KeypointConfig
from kmrcnn.structures.keypoint_layout import KeypointLayout, left_right_pairs, mirrored_order


def test_pairs_of_names():
    names = ("nose", "left_eye", "right_eye", "right_hip", "left_hip", "left_alone")
    assert left_right_pairs(names) == [(1, 2), (4, 3)]
    assert left_right_pairs(()) == []


def test_order_in_a_mirror():
    assert mirrored_order(5, [(1, 2), (4, 3)]).tolist() == [0, 2, 1, 4, 3]
    assert mirrored_order(3, ()).tolist() == [0, 1, 2]


def test_layout_of_a_configuration():
    config = KeypointConfig(num_keypoints=2, names=("a", "b"), skeleton=((0, 1),))
    layout = KeypointLayout.of(config)
    assert (layout.names, layout.skeleton) == (("a", "b"), ((0, 1),))
    assert layout.annotation_offset == 0.5 and KeypointLayout.of(None) is None
