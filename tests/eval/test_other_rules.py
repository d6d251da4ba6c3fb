"""Other benchmarks' rules on detections that were collected for COCO's."""

import pytest

from kmrcnn.data.datasets.cityscapes import load_cityscapes
from kmrcnn.eval.coco_evaluator import CocoEvaluator
from kmrcnn.eval.other_rules import OTHER_RULES
from tests.eval.coco_case import coco, results

BOX = (0, 0, 20, 20)


def test_each_kind_is_scored():
    evaluator = CocoEvaluator(coco((1, 1, BOX)))
    evaluator.add_results(results((1, 1, BOX, 0.9)))
    metrics = OTHER_RULES["voc"](evaluator)
    assert set(metrics) == {"box_ap50", "box_ap50_11_point", "mask_ap50", "mask_ap50_11_point"}
    assert set(metrics.values()) == {1.0}


def test_cityscapes_needs_its_dataset():
    with pytest.raises(ValueError, match="dataset"):
        OTHER_RULES["cityscapes"](CocoEvaluator(coco((1, 1, BOX))), None)


@pytest.mark.realdata
def test_cityscapes_reads_the_maps_beside_the_pictures(data_dir):
    """Every car but the last is found: precision 1 up to recall 4/5."""
    dataset = load_cityscapes(data_dir / "cityscapes_dummy")
    evaluator = CocoEvaluator(dataset)
    (image_id,) = evaluator.ground_truth.image_numbers
    cars = [one for one in evaluator.ground_truth.annotations_for("segm") if not one["iscrowd"]]
    assert len(cars) == 5
    evaluator.add_results(
        {
            "image_id": image_id,
            "category_id": car["category_id"],
            "segmentation": car["segmentation"],
            "score": 0.9,
        }
        for car in cars[:4]
    )
    metrics = OTHER_RULES["cityscapes"](evaluator, dataset)
    assert metrics["mask_ap"] == pytest.approx(4 / 5) == metrics["mask_ap50"]
