"""`evaluate`: around a predictor that knows the answer, and around a real small model."""

import numpy as np
import pytest

from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.data.example import Example, MaskCrop
from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.eval.evaluate import evaluate
from tests.eval.coco_case import SIZE
from tests.eval.oracle import Oracle
from tests.tiny import CLASS_NAMES, tiny_model


class Pictures(list):
    """Examples with names of classes."""

    class_names = ("cat", "dog")


def example(number: int, box=(10, 10, 40, 40), masks=True) -> Example:
    x1, y1, x2, y2 = box
    image = np.zeros((*SIZE, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    bitmap = MaskCrop(np.ones((y2 - y1, x2 - x1), bool), y1, x1)
    return Example(
        image=image,
        boxes=np.array([box], np.float32),
        classes=np.zeros(1, np.int32),
        masks=[bitmap] if masks else None,
        image_id=number,
    )


def annotated(count: int) -> AnnotatedImages:
    """Pictures encoded in memory, whose records know the objects."""
    import cv2

    records = []
    for number in range(count):
        one = example(number)
        encoded = cv2.imencode(".png", one.image)[1].tobytes()
        instance = Instance((10, 10, 40, 40), 0, one.masks[0])
        records.append(Record(f"p{number}", None, SIZE, (instance,), image_bytes=encoded))
    return AnnotatedImages(records, ("cat", "dog"), (5, 6))


@pytest.mark.parametrize("dataset", [Pictures([example(0), example(1)]), annotated(2)])
def test_the_oracle_gets_one(dataset, capsys):
    result = evaluate(Oracle(), dataset)
    assert result.metrics["box_ap"] == pytest.approx(1.0)
    assert result.metrics["mask_ap"] == pytest.approx(1.0)
    assert (result.num_images, result.num_detections) == (2, 2) and result.seconds > 0
    assert "2 images, 2 objects, 2 detections" in str(result) and "cat" in str(result)
    assert "evaluate" in capsys.readouterr().err  # the bar


def test_limit_leaves_the_rest_out():
    """What lies beyond the limit is not missed."""
    for dataset in (Pictures([example(number) for number in range(5)]), annotated(5)):
        predictor = Oracle(batch_size=2)
        result = evaluate(predictor, dataset, limit=3, progress=False)
        assert predictor.batches == [2, 1] and result.num_images == 3
        assert result.metrics["box_ar100"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "has_masks, model_masks, kinds, expected",
    [
        (True, True, None, {"box", "mask"}),
        (True, False, None, {"box"}),
        (False, True, None, {"box"}),
        (True, True, ("segm",), {"mask"}),
    ],
)
def test_kinds_are_what_model_and_dataset_have(has_masks, model_masks, kinds, expected):
    dataset = Pictures([example(0, masks=has_masks)])
    result = evaluate(Oracle(masks=model_masks), dataset, kinds=kinds, progress=False)
    assert {name.split("_")[0] for name in result.metrics} == expected


def test_other_ground_truth_can_be_given():
    """A loader leaves out what it cannot use; figures to compare count it as missed."""
    truth = {
        "images": [{"id": f"p{i}", "height": 60, "width": 80} for i in range(3)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": f"p{i}", "category_id": 5, "bbox": box, "iscrowd": 0}
            for i, box in ((0, [10, 10, 30, 30]), (1, [10, 10, 30, 30]), (2, [0, 0, 5, 5]))
        ],
    }
    truth["annotations"].append({**truth["annotations"][0], "id": 9, "bbox": [50, 50, 5, 5]})
    result = evaluate(Oracle(), annotated(2), ground_truth=truth, progress=False)
    assert result.num_images == 2
    assert result.metrics["box_ar100"] == pytest.approx(2 / 3)  # of three objects


def test_classes_are_compared_before_the_first_picture():
    predictor = Oracle(names=("cat", "owl"))
    with pytest.raises(ValueError, match="Only in the dataset: dog"):
        evaluate(predictor, annotated(2))
    assert predictor.batches == []
    result = evaluate(predictor, annotated(2), common_classes=True, progress=False)
    assert result.metrics["box_ap"] == pytest.approx(1.0)


@pytest.mark.parametrize("dataset, limit", [(Pictures(), None), (Pictures([example(0)]), 0)])
def test_nothing_to_evaluate_is_an_error(dataset, limit):
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(Oracle(), dataset, limit=limit)


def test_a_dataset_needs_names():
    with pytest.raises(ValueError, match="class_names"):
        evaluate(Oracle(), [example(0)])


def test_an_unreadable_picture_is_not_passed_over():
    dataset = annotated(1)
    broken = Record("bad", None, SIZE, dataset.records[0].instances, image_bytes=b"no picture")
    dataset.records.append(broken)
    with pytest.raises(ValueError, match="bad"):
        evaluate(Oracle(), dataset, progress=False)


def test_a_model_is_evaluated_with_all_its_scores():
    scenes = SyntheticScenes(2, image_size=(96, 96), seed=3, empty_fraction=0.0)
    result = evaluate(tiny_model(), scenes, progress=False)
    assert result.num_images == 2 and result.num_detections > 0
    assert min(r["score"] for r in result.evaluator.results) < 0.5  # the predictor's default
    assert {line.name for line in result.per_class} == set(CLASS_NAMES)
    assert 0.0 <= result.metrics["box_ap"] <= 1.0
