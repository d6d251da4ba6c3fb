"""COCO AP: cases one can work out by hand, and the numbers of pycocotools."""

import json
import tracemalloc

import numpy as np
import pytest

from kmrcnn.eval.coco_engines import choose_engine
from kmrcnn.eval.coco_evaluator import CocoEvaluator
from kmrcnn.structures.detections import Detections
from tests.eval.coco_case import SIZE, coco, results

LEFT, RIGHT = (0, 0, 20, 20), (40, 0, 60, 20)
NOWHERE = (0, 30, 20, 50)


@pytest.fixture(params=["pycocotools", "faster_coco_eval"])
def engine(request):
    pytest.importorskip(request.param)
    return request.param


def scored(truth, found, engine="auto", **options):
    evaluator = CocoEvaluator(truth, engine=engine, **options)
    evaluator.add_results(found)
    return evaluator


@pytest.mark.parametrize("prefix", ["box", "mask"])
def test_ap_counts_by_hand(engine, prefix):
    """Right, wrong, right: precision 1 up to recall 1/2, then 2/3 up to recall 1."""
    truth = coco((1, 1, LEFT), (1, 1, RIGHT))
    found = results((1, 1, LEFT, 0.9), (1, 1, NOWHERE, 0.8), (1, 1, RIGHT, 0.7))
    metrics = scored(truth, found, engine).summarize()
    expected = (51 + 50 * 2 / 3) / 101  # of the recalls 0, 0.01, ... 1
    assert metrics[f"{prefix}_ap"] == pytest.approx(expected)
    assert metrics[f"{prefix}_ap50"] == pytest.approx(expected)
    assert metrics[f"{prefix}_ar1"] == pytest.approx(0.5)
    assert metrics[f"{prefix}_ar100"] == pytest.approx(1.0)


def test_each_iou_threshold_counts(engine):
    """IoU 12.5/20 = 0.625 passes 0.5, 0.55 and 0.6 of the ten thresholds."""
    truth = coco((1, 1, LEFT))
    found = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 12.5, 20], "score": 0.5}]
    metrics = scored(truth, found, engine, kinds=("bbox",)).summarize()
    assert metrics["box_ap"] == pytest.approx(3 / 10)
    assert metrics["box_ap50"] == pytest.approx(1.0)
    assert metrics["box_ap75"] == 0.0


def test_a_second_detection_of_an_object_is_false(engine):
    truth = coco((1, 1, LEFT), (1, 1, RIGHT))
    found = results((1, 1, LEFT, 0.9), (1, 1, LEFT, 0.8), (1, 1, RIGHT, 0.7))
    expected = (51 + 50 * 2 / 3) / 101
    assert scored(truth, found, engine).summarize()["box_ap"] == pytest.approx(expected)


def test_detections_in_crowds_are_ignored(engine):
    truth = coco((1, 1, LEFT), (1, 1, (40, 0, 80, 60), {"iscrowd": 1}))
    found = results((1, 1, RIGHT, 0.9), (1, 1, (50, 20, 70, 40), 0.8), (1, 1, LEFT, 0.7))
    evaluator = scored(truth, found, engine)
    assert evaluator.summarize()["mask_ap"] == pytest.approx(1.0)
    assert evaluator.per_class()[0].num_objects == 1


def test_ties_in_score_keep_their_order(engine):
    truth = coco((1, 1, LEFT))
    right_first = results((1, 1, LEFT, 0.5), (1, 1, NOWHERE, 0.5))
    assert scored(truth, right_first, engine).summarize()["box_ap"] == pytest.approx(1.0)
    assert scored(truth, right_first[::-1], engine).summarize()["box_ap"] == pytest.approx(0.5)


def test_no_detections_give_zero(engine):
    metrics = scored(coco((1, 1, LEFT)), [], engine).summarize()
    assert metrics["box_ap"] == 0.0 and metrics["mask_ar100"] == 0.0


def test_nothing_to_find_gives_nan(engine):
    metrics = scored(coco(), results((1, 1, LEFT, 0.9)), engine).summarize()
    assert all(np.isnan(value) for value in metrics.values())


def test_a_false_alarm_in_an_image_without_objects_counts(engine):
    truth = coco((1, 1, LEFT), images=(1, 2))
    found = results((2, 1, LEFT, 0.9), (1, 1, LEFT, 0.8))
    assert scored(truth, found, engine).summarize()["box_ap"] == pytest.approx(0.5)


def test_sizes_of_objects_are_told_apart(engine):
    small, medium = (0, 0, 10, 10), (30, 0, 70, 40)
    metrics = scored(
        coco((1, 1, small), (1, 1, medium)), results((1, 1, medium, 0.9)), engine
    ).summarize()
    assert metrics["box_ap_small"] == 0.0
    assert metrics["box_ap_medium"] == pytest.approx(1.0)
    assert np.isnan(metrics["box_ap_large"])


def test_the_size_of_a_detected_mask_is_that_of_its_pixels(engine):
    """A false mask of 100 pixels with a box of 1600: it spoils small objects, not medium ones."""
    medium = (40, 0, 80, 40)
    found = results((1, 1, (0, 0, 10, 10), 0.9), (1, 1, medium, 0.8))
    found[0]["bbox"] = [0, 0, 40, 40]
    metrics = scored(coco((1, 1, medium)), found, engine, kinds=("segm",)).summarize()
    assert metrics["mask_ap"] == pytest.approx(0.5)
    assert metrics["mask_ap_medium"] == pytest.approx(1.0)


@pytest.mark.parametrize("limit, expected", [(100, 1.0), (2, 51 / 101), (1, 0.0)])
def test_detections_beyond_the_limit_do_not_count(engine, limit, expected):
    truth = coco((1, 1, LEFT), (1, 1, RIGHT))
    found = results((1, 1, NOWHERE, 0.9), (1, 1, LEFT, 0.8), (1, 1, RIGHT, 0.7))
    metrics = scored(truth, found, engine, max_detections=limit).summarize()
    precision = {100: 2 / 3, 2: 1 / 2, 1: 0.0}[limit]
    assert metrics["box_ap"] == pytest.approx(expected * precision)


def test_keypoints_by_hand(engine):
    """Joints at their places give AP 1; each class needs joints to be scored."""
    joints = np.array([[5.0 + i, 10.0 + i, 2] for i in range(17)])
    truth = coco((1, 1, LEFT, {"keypoints": joints.ravel().tolist()}), (1, 2, RIGHT))
    truth["categories"][0]["keypoints"] = [str(i) for i in range(17)]
    exact = [{"image_id": 1, "category_id": 1, "score": 0.9, "keypoints": joints.ravel().tolist()}]
    evaluator = scored(truth, exact, engine, kinds=("keypoints",))
    assert evaluator.summarize()["keypoint_ap"] == pytest.approx(1.0)
    assert np.isnan(evaluator.per_class()[1].scores["keypoint_ap"])
    far = [{**exact[0], "keypoints": (joints + [20, 0, 0]).ravel().tolist()}]
    assert scored(truth, far, engine, kinds=("keypoints",)).summarize()["keypoint_ap"] == 0.0


def test_own_sigmas_make_keypoints_of_other_objects_scorable(engine):
    truth = coco((1, 1, LEFT, {"keypoints": [2.0, 2, 2, 9, 9, 2]}))
    truth["categories"][0]["keypoints"] = ["head", "tail"]
    off_by_two = [{"image_id": 1, "category_id": 1, "score": 1.0, "keypoints": [4, 2, 1, 9, 11, 1]}]
    for sigma, expected in ((0.5, 1.0), (0.01, 0.0)):
        evaluator = scored(
            truth, off_by_two, engine, kinds=("keypoints",), keypoint_sigmas=(sigma, sigma)
        )
        assert evaluator.summarize()["keypoint_ap"] == pytest.approx(expected)


def test_an_annotation_with_id_zero_is_found(engine):
    truth = coco((1, 1, LEFT))
    assert truth["annotations"][0]["id"] == 0  # pycocotools alone takes this match for none
    metrics = scored(truth, results((1, 1, LEFT, 0.9)), engine).summarize()
    assert metrics["box_ap"] == pytest.approx(1.0)


def detections(boxes, classes, names=("cat", "dog"), scores=None, masks=True, size=SIZE):
    bitmaps = np.zeros((len(boxes), *size), bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes):
        bitmap[y1:y2, x1:x2] = True
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(boxes, scores, classes, size, bitmaps if masks else None, names)


def test_detections_are_matched_by_class_name():
    truth = coco((1, 1, LEFT), (1, 2, RIGHT))
    evaluator = CocoEvaluator(truth)
    evaluator.add(1, detections([LEFT, RIGHT, NOWHERE], [2, 0, 1], names=("dog", "owl", "cat")))
    assert [r["category_id"] for r in evaluator.results] == [1, 2]  # the owl is not asked for
    assert evaluator.summarize()["mask_ap"] == pytest.approx(1.0)


def test_unknown_classes_of_the_dataset_are_listed():
    evaluator = CocoEvaluator(coco((1, 1, LEFT)))
    with pytest.raises(ValueError, match="Only in the dataset: dog. Only in the model: owl"):
        evaluator.add(1, detections([LEFT], [0], names=("cat", "owl")))


def test_common_classes_leave_out_what_the_model_does_not_know():
    evaluator = CocoEvaluator(coco((1, 1, LEFT), (1, 2, RIGHT)), common_classes=True)
    evaluator.add(1, detections([LEFT], [0], names=("cat", "owl")))
    assert evaluator.summarize()["box_ap"] == pytest.approx(1.0)
    assert np.isnan(evaluator.per_class()[1].scores["box_ap"])


def test_detections_without_names_are_matched_by_number():
    evaluator = CocoEvaluator(coco((1, 1, LEFT), (1, 2, RIGHT)))
    evaluator.add(1, detections([RIGHT], [1], names=None))
    assert evaluator.results[0]["category_id"] == 2
    with pytest.raises(ValueError, match="detection of class 2"):
        evaluator.add(1, detections([RIGHT], [2], names=None))


@pytest.mark.parametrize(
    "image_id, found, message",
    [
        (7, detections([LEFT], [0]), "no image 7"),
        (1, detections([LEFT], [0], size=(60, 81)), r"\(60, 81\)"),
        (1, detections([LEFT], [0], masks=False), "no masks"),
    ],
)
def test_wrong_detections_are_refused(image_id, found, message):
    with pytest.raises(ValueError, match=message):
        CocoEvaluator(coco((1, 1, LEFT))).add(image_id, found)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_id": 5}, "no image 5"),
        ({"score": float("nan")}, "finite"),
        ({"segmentation": {"size": [5, 5], "counts": "f1"}}, r"\(5, 5\)"),
    ],
)
def test_wrong_results_are_refused(change, message):
    evaluator = CocoEvaluator(coco((1, 1, LEFT)))
    with pytest.raises(ValueError, match=message):
        evaluator.add_results([{**results((1, 1, LEFT, 0.9))[0], **change}])


def test_results_need_what_is_scored():
    evaluator = CocoEvaluator(coco((1, 1, LEFT)))
    with pytest.raises(ValueError, match="needs 'segmentation'"):
        evaluator.add_results([{"image_id": 1, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}])
    with pytest.raises(ValueError, match="score"):
        evaluator.add_results([{"image_id": 1, "category_id": 1}])


@pytest.mark.parametrize(
    "options", [{"kinds": ("masks",)}, {"kinds": "bbox"}, {"max_detections": 0}, {"engine": "c"}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        CocoEvaluator(coco(), **options)


def test_metrics_follow_further_detections():
    evaluator = CocoEvaluator(coco((1, 1, LEFT), images=(1, 2)))
    assert evaluator.summarize()["box_ap"] == 0.0
    evaluator.add_results(results((2, 1, LEFT, 0.9)))
    assert evaluator.summarize()["box_ap"] == 0.0
    evaluator.add_results(results((1, 1, LEFT, 0.8)))
    assert evaluator.summarize()["box_ap"] == pytest.approx(0.5)


def test_result_file_is_coco(tmp_path):
    truth = coco((1, 1, LEFT))
    truth["images"][0]["id"] = truth["annotations"][0]["image_id"] = "street/7"
    evaluator = CocoEvaluator(truth)
    evaluator.add("street/7", detections([LEFT], [0]))
    written = json.loads(evaluator.write_results(tmp_path / "out" / "results.json").read_text())
    assert written == [
        {
            "image_id": "street/7",
            "category_id": 1,
            "bbox": [0, 0, 20, 20],
            "score": pytest.approx(0.9),
            "segmentation": results((1, 1, LEFT, 0.9))[0]["segmentation"],
        }
    ]
    again = CocoEvaluator(truth)
    again.add_results(written)
    assert again.summarize()["mask_ap"] == pytest.approx(1.0)


def test_masks_are_not_held():
    size = (1000, 1000)
    truth = {
        "images": [{"id": i, "height": 1000, "width": 1000} for i in range(20)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    evaluator = CocoEvaluator(truth)
    evaluator.add(0, detections([(5, 5, 700, 700)] * 3, [0] * 3, names=("cat",), size=size))
    tracemalloc.start()
    for image_id in range(1, 20):
        one = detections([(5, 5, 700, 700)] * 3, [0] * 3, names=("cat",), size=size)
        evaluator.add(image_id, one)
    del one
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1e6  # bytes; the 57 bitmaps would be 57e6


def test_auto_takes_the_faster_engine():
    pytest.importorskip("faster_coco_eval")
    assert choose_engine("auto") == "faster_coco_eval"


def test_auto_falls_back_to_pycocotools(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_engine("auto") == "pycocotools"
    with pytest.raises(ImportError, match="pip install faster-coco-eval"):
        choose_engine("faster_coco_eval")
