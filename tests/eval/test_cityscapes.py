"""Cityscapes AP worked out by hand on a street of 40 x 100 pixels."""

import numpy as np
import pytest
from PIL import Image

from kmrcnn.eval.cityscapes import CityscapesEvaluator, evaluate_cityscapes, instance_map_of
from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.masks import mask_to_rle

ROAD, VOID, CAR_GROUP, CAR_1, CAR_2 = 7, 4, 26, 26001, 26002
SIZE = (40, 100)
FIRST, SECOND = slice(0, 20), slice(40, 60)  # columns of the two cars, rows 0..20


def street() -> np.ndarray:
    """Instance ids: two cars of 400 pixels on the road."""
    ids = np.full(SIZE, ROAD, np.int32)
    ids[:20, FIRST], ids[:20, SECOND] = CAR_1, CAR_2
    return ids


def mask(columns, rows=slice(0, 20)) -> np.ndarray:
    bitmap = np.zeros(SIZE, bool)
    bitmap[rows, columns] = True
    return bitmap


def found(*masks_and_scores, name="car") -> Detections:
    masks = np.array([one for one, _ in masks_and_scores], bool).reshape(-1, *SIZE)
    count = len(masks)
    return Detections(
        boxes=np.tile([0.0, 0, 1, 1], (count, 1)),
        scores=np.array([score for _, score in masks_and_scores]),
        classes=np.zeros(count, np.int32),
        image_size=SIZE,
        masks=masks,
        class_names=(name,),
    )


def score(ids, detections) -> dict[str, float]:
    evaluator = CityscapesEvaluator()
    evaluator.add(ids, detections)
    return evaluator.summarize()


def test_perfect_masks_give_one():
    assert score(street(), found((mask(FIRST), 0.9), (mask(SECOND), 0.8))) == {
        "ap": pytest.approx(1.0),
        "ap50": pytest.approx(1.0),
    }


def test_right_wrong_right():
    """Points (recall, precision) by falling score: (1/2, 1), (1/2, 1/2), (1, 2/3), and (0, 1).

    Each point stands for half the way to its neighbours in recall.
    """
    wrong = mask(slice(70, 90))
    metrics = score(street(), found((mask(FIRST), 0.9), (wrong, 0.8), (mask(SECOND), 0.7)))
    expected = 1 / 4 * 2 / 3 + 1 / 4 * 1 / 2 + 1 / 4 * 1 + 1 / 4 * 1
    assert metrics["ap50"] == pytest.approx(expected)


def test_the_overlap_must_be_exceeded():
    half = mask(slice(0, 10))  # IoU 0.5 with the first car, and 0 ignored pixels
    assert score(street(), found((half, 0.9)))["ap50"] == 0.0
    assert score(street(), found((mask(slice(0, 11)), 0.9)))["ap50"] > 0.0


def test_each_threshold_counts():
    ids = np.where(street() == CAR_2, ROAD, street())
    covering = found((mask(slice(0, 15)), 0.9))  # IoU 0.75: above 0.5, 0.55, ... 0.7
    assert score(ids, covering)["ap"] == pytest.approx(5 / 10)


@pytest.mark.parametrize("region", [VOID, CAR_GROUP])
def test_detections_on_void_and_groups_are_ignored(region):
    ids = street()
    ids[:20, 70:90] = region
    detections = found((mask(slice(70, 90)), 0.95), (mask(FIRST), 0.9), (mask(SECOND), 0.8))
    assert score(ids, detections)["ap"] == pytest.approx(1.0)


def test_objects_below_100_pixels_are_ignored():
    ids = street()
    ids[:9, 70:81] = 26003  # 99 pixels
    small = mask(slice(70, 81), rows=slice(0, 9))
    with_small = found((small, 0.95), (mask(FIRST), 0.9), (mask(SECOND), 0.8))
    assert score(ids, with_small)["ap"] == pytest.approx(1.0)
    assert score(ids, with_small[1:])["ap"] == pytest.approx(1.0)


def test_the_best_of_two_detections_of_an_object_is_true():
    """The other one is false: points (1/2, 1/2), (1/2, 1) and (0, 1)."""
    metrics = score(street(), found((mask(FIRST), 0.6), (mask(FIRST), 0.9)))
    assert metrics["ap50"] == pytest.approx(0 * 1 / 2 + 1 / 4 * 1 + 1 / 4 * 1)


def test_classes_are_told_apart():
    evaluator = CityscapesEvaluator()
    evaluator.add(street(), found((mask(FIRST), 0.9), name="bus"))
    evaluator.add(street(), found((mask(FIRST), 0.9), name="tree"))  # is not evaluated
    per_class = evaluator.per_class()
    assert per_class["car"] == (0.0, 0.0) and np.isnan(per_class["bus"]).all()


def test_nothing_found_and_nothing_to_find():
    assert score(street(), found()) == {"ap": 0.0, "ap50": 0.0}
    empty_mask = found((np.zeros(SIZE, bool), 0.9))
    assert score(street(), empty_mask)["ap"] == 0.0
    assert np.isnan(score(np.full(SIZE, ROAD), found((mask(FIRST), 0.9)))["ap"])


@pytest.mark.parametrize("change", [{"masks": None}, {"class_names": None}])
def test_detections_need_masks_and_names(change):
    fields = {"masks": mask(FIRST)[None], "class_names": ("car",)} | change
    detections = Detections([[0, 0, 1, 1]], [0.9], [0], SIZE, **fields)
    with pytest.raises(ValueError, match="masks and class names"):
        score(street(), detections)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="image size"):
        score(street()[:, :50], found())


def test_coco_results_are_scored_against_the_maps_beside_the_pictures(tmp_path):
    picture = tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    path = instance_map_of(picture)
    assert path == tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(street().astype(np.uint16)).save(path)
    truth = GroundTruth.of(
        {
            "images": [{"id": "ulm_000000_000019", "height": 40, "width": 100}],
            "categories": [{"id": 26, "name": "car"}],
            "annotations": [],
        }
    )
    results = [
        {"image_id": 1, "category_id": 26, "score": s, "segmentation": mask_to_rle(mask(columns))}
        for columns, s in ((FIRST, 0.9), (SECOND, 0.4))
    ]
    evaluator = evaluate_cityscapes(truth, results, {"ulm_000000_000019": path})
    assert evaluator.per_class()["car"] == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_picture_elsewhere_has_no_map():
    with pytest.raises(ValueError, match="leftImg8bit"):
        instance_map_of("photos/street.png")
