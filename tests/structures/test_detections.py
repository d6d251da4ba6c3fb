"""The container a user holds: validation, selection, and the formats it is written in."""

import json

import numpy as np
import pytest

from kmrcnn.structures.detections import Detection, Detections
from kmrcnn.structures.keypoint_layout import KeypointLayout
from kmrcnn.structures.masks import polygons_to_mask, rle_to_mask

NAMES = ("cat", "dog", "person")


def make(with_masks: bool = True, **changes) -> Detections:
    boxes = np.array([[1, 2, 5, 6], [0, 0, 3, 3], [4, 4, 10, 8]], np.float32)
    bitmaps = np.zeros((3, 8, 10), bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.astype(int)):
        bitmap[y1:y2, x1:x2] = True
    fields = {
        "boxes": boxes,
        "scores": np.array([0.9, 0.8, 0.4]),
        "classes": np.array([2, 0, 2]),
        "image_size": (8, 10),
        "masks": bitmaps if with_masks else None,
        "class_names": NAMES,
        "category_ids": (17, 18, 1),
        "source": "photos/a.jpg",
    }
    return Detections(**{**fields, **changes})


def test_types_and_names():
    found = make()
    assert found.boxes.dtype == np.float32 and found.scores.dtype == np.float32
    assert found.classes.dtype == np.int32 and found.masks.dtype == bool
    assert found.names == ("person", "cat", "person")
    assert found.counts() == {"person": 2, "cat": 1}
    assert make(class_names=None).names == ("class 2", "class 0", "class 2")


def test_int_index_and_iteration_give_single_detections():
    found = make()
    one = found[-1]
    assert isinstance(one, Detection)
    assert (one.name, one.category_id, one.class_id) == ("person", 1, 2)
    assert one.box.tolist() == [4, 4, 10, 8] and one.mask.sum() == 24
    assert [each.score for each in found] == pytest.approx([0.9, 0.8, 0.4])
    with pytest.raises(IndexError):
        found[3]


@pytest.mark.parametrize(
    "index, expected",
    [
        (slice(1, None), [1, 2]),
        (np.array([True, False, True]), [0, 2]),
        ([True, False, False], [0]),
        (np.array([2, 0]), [2, 0]),
        ([], []),
    ],
)
@pytest.mark.parametrize("masks", [True, False])
def test_other_indices_select_every_field(index, expected, masks):
    found = make(masks)
    part = found[index]
    assert len(part) == len(expected)
    assert np.array_equal(part.boxes, found.boxes[expected])
    assert np.array_equal(part.scores, found.scores[expected])
    assert part.class_names == NAMES and part.source == found.source
    assert part.masks is None if not masks else np.array_equal(part.masks, found.masks[expected])


def test_filter_by_score_and_class():
    found = make()
    assert len(found.filter(score_threshold=0.8)) == 2
    assert found.filter(classes=["person"]).scores == pytest.approx([0.9, 0.4])
    assert found.filter(classes=["cat", 2]).names == found.names
    assert found.filter(0.5, classes=["2"]).names == ("person",)
    assert len(found.filter(classes=[])) == 0
    assert len(found.filter()) == 3


@pytest.mark.parametrize(
    "classes, message",
    [
        (["persn"], "Did you mean person"),
        (["zebra"], "Known classes: cat, dog, person"),
        ([7], "0..2"),
        ("cat", "must be a list"),
    ],
)
def test_filter_names_the_trouble(classes, message):
    with pytest.raises(ValueError, match=message):
        make().filter(classes=classes)


def test_empty():
    found = Detections.empty((4, 5), class_names=NAMES)
    assert len(found) == 0 and found.masks.shape == (0, 4, 5) and list(found) == []
    assert found.to_coco(1) == [] and "nothing" in repr(found)
    assert len(found.filter(0.5, classes=["cat"])) == 0
    assert Detections.empty((4, 5), masks=False).masks is None
    assert len(Detections([], [], [], (4, 5))) == 0


def test_repr_tells_what_was_found():
    text = repr(make())
    assert text == ("Detections(3: person 2, cat 1, scores 0.40..0.90; 8x10 px, with masks, a.jpg)")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"boxes": np.zeros((3, 5))}, r"`boxes` must have shape \(D, 4\)"),
        ({"boxes": np.array([[5, 5, 2, 2]] * 3)}, "xywh"),
        ({"boxes": np.full((3, 4), np.nan)}, "finite"),
        ({"scores": np.ones(2)}, "`scores`"),
        ({"scores": np.array([0.1, 0.2, 80.0])}, r"`scores` must be in \[0, 1\]"),
        ({"scores": np.array([0.1, 0.2, np.nan])}, r"`scores` must be in \[0, 1\]"),
        ({"classes": np.array([0.5, 1, 2])}, "`classes` must be integers"),
        ({"classes": np.array([0, -1, 2])}, "`classes` must be >= 0"),
        ({"classes": np.array([0, 1, 3])}, "`class_names`"),
        ({"category_ids": (1,)}, "`category_ids`"),
        ({"masks": np.zeros((3, 8, 10))}, "threshold"),
        ({"masks": np.zeros((3, 10, 8), bool)}, "`masks`"),
    ],
)
def test_wrong_values_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_coco_results():
    results = json.loads(json.dumps(make().to_coco(42)))
    assert [r["category_id"] for r in results] == [1, 17, 1]
    assert results[0]["bbox"] == [1, 2, 4, 4] and results[0]["image_id"] == 42
    assert np.array_equal(rle_to_mask(results[2]["segmentation"]), make().masks[2])
    assert "segmentation" not in make(with_masks=False).to_coco(1)[0]
    assert make(category_ids=None).to_coco(1)[0]["category_id"] == 3


def test_json_holds_everything():
    plain = json.loads(make().to_json())
    assert plain["image_size"] == [8, 10] and plain["source"] == "photos/a.jpg"
    second = plain["detections"][1]
    assert (second["class_name"], second["box"]) == ("cat", [0, 0, 3, 3])
    assert rle_to_mask(second["segmentation"]).sum() == 9


def test_labelme_polygons_and_relative_path(tmp_path):
    image = tmp_path / "photos" / "a.jpg"
    path = make(source=image).to_labelme(tmp_path / "out" / "a.json", tolerance=0)
    document = json.loads(path.read_text())
    assert document["imagePath"] == "../photos/a.jpg"
    assert (document["imageHeight"], document["imageWidth"]) == (8, 10)
    shape = document["shapes"][0]
    assert (shape["label"], shape["shape_type"]) == ("person", "polygon")
    assert np.array_equal(polygons_to_mask([shape["points"]], (8, 10)), make().masks[0])
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_labelme_without_masks_writes_rectangles(tmp_path):
    path = make(with_masks=False).to_labelme(tmp_path / "a.json")
    shapes = json.loads(path.read_text())["shapes"]
    assert {shape["shape_type"] for shape in shapes} == {"rectangle"}
    assert shapes[1]["points"] == [[0, 0], [3, 3]]


def test_labelme_ties_the_parts_of_a_mask(tmp_path):
    masks = make().masks.copy()
    masks[0] = False
    masks[0, :3, :3] = masks[0, 5:8, 6:9] = True
    path = make(masks=masks).to_labelme(tmp_path / "a.json")
    groups = [shape["group_id"] for shape in json.loads(path.read_text())["shapes"]]
    assert groups == [0, 0, 1, 2]


def test_labelme_needs_a_picture(tmp_path):
    with pytest.raises(ValueError, match="image_path"):
        make(source=None).to_labelme(tmp_path / "a.json")


def test_supervision():
    pytest.importorskip("supervision")
    converted = make().to_supervision()
    assert len(converted) == 3 and converted.mask.shape == (3, 8, 10)
    assert converted.data["class_name"].tolist() == ["person", "cat", "person"]


def test_supervision_missing_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        make().to_supervision()


POINTS = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
LAYOUT = KeypointLayout(("nose", "tail"), ((0, 1),))


def test_keypoints_go_with_their_detections():
    found = make(keypoints=POINTS, keypoint_layout=LAYOUT)
    np.testing.assert_array_equal(found[1].keypoints, POINTS[1])
    np.testing.assert_array_equal(found[[2, 0]].keypoints, POINTS[[2, 0]])
    assert found[:1].keypoint_layout is LAYOUT and make()[0].keypoints is None
    assert "with masks and keypoints" in repr(found)
    nothing = Detections.empty((4, 5), num_keypoints=2)
    assert nothing.keypoints.shape == (0, 2, 3) and "keypoints" in repr(nothing)


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 3), (3, 2, 4)])
def test_keypoints_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="`keypoints` must have shape"):
        make(keypoints=np.zeros(shape))


@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_keypoints_in_coco_files_are_the_annotators_numbers(offset):
    layout = KeypointLayout(annotation_offset=offset)
    result = make(keypoints=POINTS, keypoint_layout=layout).to_coco(7)[1]
    x, y = 6 - offset, 7 - offset
    assert result["keypoints"] == [x, y, 8.0, x + 3, y + 3, 11.0]


def test_keypoints_as_plain_values():
    plain = json.loads(make(keypoints=POINTS, keypoint_layout=LAYOUT).to_json())
    assert plain["keypoint_names"] == ["nose", "tail"]
    assert plain["detections"][2]["keypoints"] == POINTS[2].tolist()
    assert "keypoint_names" not in make().to_dict()
