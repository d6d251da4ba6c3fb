"""Ground truth from COCO files, datasets and examples."""

import json
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.structures.masks import mask_to_rle, rle_to_mask
from tests.eval.coco_case import SIZE, coco

BOX = (0, 0, 20, 20)
POLYGON = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)


def dataset(*instances, size=SIZE, names=("cat", "dog"), image_id="a") -> AnnotatedImages:
    return AnnotatedImages([Record(image_id, None, size, instances)], names, (7, 3))


def pixels(truth) -> list[int]:
    entries = truth.annotations_for("segm")
    return [int(rle_to_mask(entry["segmentation"]).sum()) for entry in entries]


@pytest.mark.parametrize("as_file", [True, False])
def test_coco_files_keep_ids_of_images_and_categories(tmp_path, as_file):
    source = coco((5, 2, BOX, {"track": 3}), images=(5, 9))
    if as_file:
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(source))
        source = path
    truth = GroundTruth.of(source)
    assert truth.image_numbers == {5: 5, 9: 9}
    assert truth.annotations[0]["id"] == 1 and truth.annotations[0]["track"] == 3
    assert truth.category_ids == (1, 2) and truth.kinds() == ("bbox", "segm")


def test_image_ids_that_are_names_get_numbers():
    source = coco((1, 1, BOX))
    source["images"][0]["id"] = source["annotations"][0]["image_id"] = "left/1"
    truth = GroundTruth.of(source)
    assert truth.number_of("left/1") == 1 == truth.annotations[0]["image_id"]


def test_the_source_is_not_changed():
    source = coco((1, 1, BOX))
    before = json.dumps(source)
    GroundTruth.of(source).annotations_for("segm")[0]["area"] = 0
    assert json.dumps(source) == before


def test_what_a_file_leaves_out_is_filled_in():
    source = coco((1, 1, BOX), (1, 1, BOX))
    del source["annotations"][0]["bbox"], source["annotations"][0]["area"]
    del source["annotations"][1]["segmentation"], source["annotations"][1]["area"]
    del source["annotations"][1]["iscrowd"]
    truth = GroundTruth.of(source)
    assert truth.annotations[0]["bbox"] == [0, 0, 20, 20]
    assert [one["area"] for one in truth.annotations] == [400, 400]
    assert truth.annotations[1]["iscrowd"] == 0


def test_an_object_without_mask_is_a_region_to_ignore_for_masks_only():
    source = coco((1, 1, BOX), (1, 1, (40, 0, 60, 20)))
    del source["annotations"][1]["segmentation"]
    truth = GroundTruth.of(source)
    assert [one["iscrowd"] for one in truth.annotations_for("segm")] == [0, 1]
    assert [one["iscrowd"] for one in truth.annotations_for("bbox")] == [0, 0]


@pytest.mark.parametrize(
    "segmentation",
    [
        [POLYGON],
        mask_to_rle(np.pad(np.ones((20, 20), bool), ((0, 40), (0, 60)))),
        {"size": list(SIZE), "counts": [0, *[20, 40] * 19, 20, 40 + 60 * 60]},
        MaskCrop(np.ones((20, 20), bool), 0, 0),
    ],
    ids=["polygons", "compressed", "runs", "bitmap"],
)
def test_every_form_of_mask_is_taken(segmentation):
    truth = GroundTruth.of(dataset(Instance((0, 0, 20, 20), 1, segmentation)))
    assert pixels(truth) == [400]
    assert truth.annotations[0]["area"] == 400 and truth.annotations[0]["category_id"] == 3


def test_records_give_boxes_crowds_area_and_keypoints():
    joints = np.array([[1, 2, 2], [3, 4, 0]], np.float32)
    instance = Instance((1.5, 2, 4, 8), 0, None, is_crowd=True, area=5.5, keypoints=joints)
    truth = GroundTruth.of(dataset(instance))
    entry = truth.annotations[0]
    assert entry["bbox"] == [1.5, 2, 2.5, 6] and entry["area"] == 5.5 and entry["iscrowd"] == 1
    assert entry["keypoints"] == [1, 2, 2, 3, 4, 0] and entry["num_keypoints"] == 1
    assert truth.kinds() == ("bbox", "keypoints")


def test_a_picture_is_read_only_for_a_size_that_is_needed():
    missing = Path("missing.png")
    boxes_only = Record("a", missing, None, (Instance((0, 0, 2, 2), 0, None),))
    assert GroundTruth.of(AnnotatedImages([boxes_only], ["cat"])).size_of(1) is None
    with_mask = Record("a", missing, None, (Instance((0, 0, 2, 2), 0, [POLYGON]),))
    with pytest.raises(OSError):
        GroundTruth.of(AnnotatedImages([with_mask], ["cat"]))


def test_examples_are_added_one_by_one():
    truth = GroundTruth(["cat"])
    masks = np.zeros((1, *SIZE), bool)
    masks[0, :20, :20] = True
    image = np.zeros((*SIZE, 3), np.uint8)
    truth.add_example(Example.from_full_masks(image, masks, [0], image_id="first"))
    truth.add_example(Example.from_full_masks(image, masks[:0], [], image_id="empty"))
    assert truth.number_of("empty") == 2 and truth.size_of(2) == SIZE
    assert pixels(truth) == [400] and truth.annotations[0]["bbox"] == [0, 0, 20, 20]
    with pytest.raises(ValueError, match="'first' occurs twice"):
        truth.add_example(Example.from_full_masks(image, masks, [0], image_id="first"))


def test_a_part_has_its_images_only():
    truth = GroundTruth.of(coco((1, 1, BOX), (2, 1, BOX), (2, 2, BOX), images=(1, 2)))
    part = truth.subset([2])
    assert len(part.images) == 1 and len(part.annotations) == 2
    assert part.class_names == ("cat", "dog") and part.size_of(2) == SIZE
    with pytest.raises(ValueError, match="no image 1"):
        part.number_of(1)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("categories"), "categories"),
        (lambda c: c["images"].append(c["images"][0]), "distinct"),
        (lambda c: c["categories"][1].update(name="cat"), "distinct"),
        (lambda c: c["annotations"][0].update(image_id=4), "no image 4"),
        (
            lambda c: [c["annotations"][0].pop(k) for k in ("bbox", "segmentation")],
            "bbox or a mask",
        ),
    ],
)
def test_broken_files_are_refused(change, message):
    source = coco((1, 1, BOX))
    change(source)
    with pytest.raises(ValueError, match=message):
        GroundTruth.of(source)


def test_other_sources_are_refused():
    with pytest.raises(ValueError, match="COCO"):
        GroundTruth.of([1, 2])
    with pytest.raises(ValueError, match="one id per class"):
        GroundTruth(["cat"], [1, 2])
