import numpy as np
import pytest

from kmrcnn.data.check.instances import MaskRules, check_instances, instance_faults, near_duplicates
from kmrcnn.data.check.kinds import describe
from kmrcnn.data.check.repair import mend_instance
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.records import Instance, Record

SIZE = (50, 60)  # height, width
MASKS, BOXES = MaskRules(are_expected=True), MaskRules()
SQUARE = [np.array([[10, 10], [30, 10], [30, 30], [10, 30]], float)]


def _kinds(box, segmentation=None, size=SIZE, rules=None):
    return [
        fault.kind
        for fault in instance_faults(Instance(box, 0, segmentation), size, rules or BOXES)
    ]


@pytest.mark.parametrize(
    "box,kinds",
    [
        ((0, 0, 60, 50), []),
        ((-1, -1, 61, 51), []),  # within the margin
        ((-1.5, 0, 10, 10), ["box-beyond-image"]),
        ((0, 0, 10, 51.5), ["box-beyond-image"]),
        ((60, 0, 70, 10), ["box-outside-image"]),
        ((0, -9, 10, 0), ["box-outside-image"]),
        ((5, 5, 5, 9), ["zero-area-box"]),
        ((9, 5, 5, 9), ["zero-area-box"]),
        ((5, float("nan"), 9, 9), ["bad-box"]),
    ],
)
def test_box_faults(box, kinds):
    assert _kinds(box) == kinds


@pytest.mark.parametrize("shift,kinds", [(3.0, []), (3.5, ["mask-box-mismatch"])])
def test_mask_and_box_agree_to_three_pixels(shift, kinds):
    assert _kinds((10 - shift, 10, 30, 30), SQUARE) == kinds


def test_thin_tip_is_a_note():
    tip = [np.array([[10, 10], [30, 10], [30, 20.1], [45, 20.2], [30, 20.3], [30, 30], [10, 30]])]
    (fault,) = instance_faults(Instance((10, 10, 45, 30), 0, tip), SIZE, MASKS)
    assert fault.kind == "thin-tip" and "too thin" in fault.message
    assert not describe(fault.kind).is_fault


def test_mending_leaves_thin_tips_alone():
    tip = [np.array([[10, 10], [30, 10], [30, 20.1], [45, 20.2], [30, 20.3], [30, 30], [10, 30]])]
    pointed = Instance((10, 10, 45, 30), 0, tip)
    mended, kinds = mend_instance(pointed, SIZE, MASKS)
    assert mended is pointed and kinds == []


def test_label_images_may_be_smaller_than_their_box():
    crop, box = MaskCrop(np.ones((5, 5), bool), 12, 12), (5, 5, 30, 30)
    labels = MaskRules(are_expected=True, are_labels=True)
    assert _kinds(box, crop) == ["mask-box-mismatch"]
    assert _kinds(box, crop, rules=labels) == []
    assert _kinds((5, 10, 30, 30), SQUARE, rules=labels) == ["mask-box-mismatch"]


@pytest.mark.parametrize("crop", [(np.zeros, 12), (np.ones, 80)])
def test_bitmaps_without_a_pixel_in_the_picture(crop):
    make, top = crop
    assert _kinds((5, 5, 30, 30), MaskCrop(make((5, 5), bool), top, 12)) == ["empty-mask"]


def test_objects_without_a_mask_where_others_have_one():
    faults = instance_faults(Instance((5, 5, 30, 30), 0, None), SIZE, MASKS)
    assert [fault.kind for fault in faults] == ["missing-mask"]


def test_without_a_size_only_what_needs_none_is_found():
    assert _kinds((500, 5, 600, 9), SQUARE, size=None) == []
    assert _kinds((5, 5, 5, 9), [SQUARE[0][:2]], size=None) == [
        "zero-area-box",
        "polygon-too-short",
    ]


def test_mending_drops_the_short_part_and_takes_the_box_of_the_rest():
    broken = Instance((1, 1, 1, 1), 0, [SQUARE[0], SQUARE[0][:2]], area=400.0)
    mended, kinds = mend_instance(broken, SIZE, MASKS)
    assert kinds == ["polygon-too-short", "zero-area-box"]
    assert mended.box == (10, 10, 30, 30) and len(mended.segmentation) == 1


def test_mending_leaves_out_what_has_neither_box_nor_mask():
    assert mend_instance(Instance((1, 1, 1, 1), 0, None), SIZE, BOXES) == (None, ["zero-area-box"])


def test_near_duplicates_are_of_one_class_and_no_crowds():
    box, near = (10, 10, 30, 30), (10, 10, 30, 30.5)
    record = Record(
        1,
        None,
        SIZE,
        (
            Instance(box, 0, None, annotation_id=1),
            Instance(box, 1, None),
            Instance(box, 0, None, is_crowd=True),
            Instance(near, 0, None, annotation_id=2),
            Instance((5, 5, 5, 5), 0, None),
        ),
    )
    assert [(a, b) for a, b, _ in near_duplicates(record, SIZE)] == [(0, 3)]
    found = check_instances(record, SIZE, BOXES)
    assert [(one.kind, one.annotation_id) for one in found] == [
        ("zero-area-box", None),
        ("near-duplicate-box", 2),
    ]


def test_masks_tell_two_objects_in_one_box_apart():
    triangles = [
        [np.array([[10, 10], [30, 10], [10, 30]], float)],
        [np.array([[30, 30], [30, 10], [10, 30]], float)],
    ]
    box = (10, 10, 30, 30)
    apart = Record(1, None, SIZE, tuple(Instance(box, 0, mask) for mask in triangles))
    same = Record(1, None, SIZE, tuple(Instance(box, 0, SQUARE) for _ in range(2)))
    assert list(near_duplicates(apart, SIZE)) == []
    assert len(list(near_duplicates(same, SIZE))) == 1
