import math
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.data.check.raw_coco import image_file_name, read_raw_coco


def _read(annotation, image=None):
    image = {"id": 1, "file_name": "a/1.png", "height": 4, "width": 6, **(image or {})}
    document = {
        "images": [image],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 3, **annotation}],
        "categories": [{"id": 3, "name": "cat"}],
    }
    return read_raw_coco(document, lambda name: Path("root") / name)


def test_a_sound_entry():
    raw = _read({"bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 3, 0, 3, 2]], "iscrowd": 1})
    (record,) = raw.records
    (instance,) = record.instances
    assert (record.image_id, record.size, record.path) == (1, (4, 6), Path("root/a/1.png"))
    assert instance.box == (1, 2, 4, 6) and instance.class_index == 0 and instance.is_crowd
    np.testing.assert_array_equal(instance.segmentation[0], [[0, 0], [3, 0], [3, 2]])
    assert instance.annotation_id == 7 and raw.problems == []
    assert raw.annotations[0][0]["segmentation"] == [[0, 0, 3, 0, 3, 2]]


@pytest.mark.parametrize(
    "bbox", [None, [1, 2, 3], "box", [1, 2, 3, "4"], [1, 2, 3, math.inf], [1, 2, True, 4]]
)
def test_a_broken_box_is_kept_as_nan(bbox):
    assert all(math.isnan(side) for side in _read({"bbox": bbox}).records[0].instances[0].box)


@pytest.mark.parametrize(
    "annotation,kind",
    [
        ({"category_id": 4}, "unknown-category"),
        ({"category_id": [3]}, "broken-record"),
        ({"image_id": 2}, "unknown-image"),
        ({"image_id": None}, "broken-record"),
    ],
)
def test_entries_of_which_no_instance_can_be_made(annotation, kind):
    raw = _read({"bbox": [1, 2, 3, 4], **annotation})
    assert [one.kind for one in raw.problems] == [kind]
    assert raw.records[0].instances == ()


@pytest.mark.parametrize("height", [None, 0, -4, math.nan, "4"])
def test_a_size_that_is_none(height):
    assert _read({}, {"height": height}).records[0].size is None


def test_lvis_names_pictures_by_their_address():
    assert image_file_name({"coco_url": "http://images.org/val2017/12.jpg"}) == "val2017/12.jpg"
