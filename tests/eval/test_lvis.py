"""LVIS AP: the federated rules by hand, and against faster-coco-eval's LVIS style."""

import copy
import json

import numpy as np
import pytest

from kmrcnn.eval.ground_truth import GroundTruth
from kmrcnn.eval.lvis import evaluate_lvis
from tests.eval.coco_case import coco, results

LEFT, NOWHERE = (0, 0, 20, 20), (0, 30, 20, 50)
RIGHT_AFTER_WRONG = ((1, 1, NOWHERE, 0.9), (1, 1, LEFT, 0.8))


def lvis(*objects, searched=(), not_exhaustive=(), frequencies="rc", **options):
    truth = coco(*objects, **options)
    for image in truth["images"]:
        image["neg_category_ids"] = list(searched)
        image["not_exhaustive_category_ids"] = list(not_exhaustive)
    for category, letter in zip(truth["categories"], frequencies):
        category["frequency"] = letter
    return GroundTruth.of(truth)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_a_false_alarm_halves_the_precision(kind):
    metrics = evaluate_lvis(lvis((1, 1, LEFT)), results(*RIGHT_AFTER_WRONG), kind=kind)
    assert metrics["ap"] == pytest.approx(0.5) and metrics["ar300"] == pytest.approx(1.0)


def test_unmatched_detections_do_not_count_where_annotation_is_not_exhaustive():
    truth = lvis((1, 1, LEFT), not_exhaustive=[1])
    assert evaluate_lvis(truth, results(*RIGHT_AFTER_WRONG))["ap"] == pytest.approx(1.0)


@pytest.mark.parametrize("searched, expected", [((), 1.0), ((1,), 0.5)])
def test_only_images_that_were_searched_count(searched, expected):
    """A detection in image 2, where nothing is annotated, is false only if one has looked."""
    truth = lvis((1, 1, LEFT), images=(1, 2), searched=searched)
    found = results((2, 1, LEFT, 0.9), (1, 1, LEFT, 0.8))
    assert evaluate_lvis(truth, found)["ap"] == pytest.approx(expected)


def test_frequency_groups_have_means_of_their_own():
    truth = lvis((1, 1, LEFT), (1, 2, LEFT))
    metrics = evaluate_lvis(truth, results((1, 1, LEFT, 0.9)))
    assert metrics["ap_rare"] == pytest.approx(1.0) and metrics["ap_common"] == 0.0
    assert metrics["ap"] == pytest.approx(0.5) and np.isnan(metrics["ap_frequent"])


def test_at_most_300_detections_of_an_image_count():
    truth = lvis((1, 1, LEFT), searched=(2,))
    crowd_out = results(*[(1, 2, NOWHERE, 0.9)] * 300, (1, 1, LEFT, 0.5))
    assert evaluate_lvis(truth, crowd_out)["ap"] == 0.0
    assert evaluate_lvis(truth, crowd_out[1:])["ap"] == pytest.approx(1.0)


def test_sizes_of_objects_are_told_apart():
    metrics = evaluate_lvis(lvis((1, 1, LEFT)), results((1, 1, LEFT, 0.9)))
    assert metrics["ap_small"] == pytest.approx(1.0) and np.isnan(metrics["ap_large"])


def test_nothing_found_and_nothing_to_find():
    assert evaluate_lvis(lvis((1, 1, LEFT)), [])["ap"] == 0.0
    assert np.isnan(evaluate_lvis(lvis(), results((1, 1, LEFT, 0.9)))["ap"])


def test_a_plain_coco_file_is_refused():
    with pytest.raises(ValueError, match="neg_category_ids"):
        evaluate_lvis(GroundTruth.of(coco((1, 1, LEFT))), [])
    with pytest.raises(ValueError, match="kind"):
        evaluate_lvis(lvis((1, 1, LEFT)), [], kind="keypoints")


@pytest.mark.realdata
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_another_implementation_agrees(data_dir, kind):
    """Real objects with lists of categories drawn at random."""
    package = pytest.importorskip("faster_coco_eval")
    folder = data_dir / "evaluator" / "coco_mini_perturbed"
    truth = json.loads((folder / "gt_instances.json").read_text())
    found = json.loads((folder / f"dt_{kind}.json").read_text())
    truth["annotations"] = [one for one in truth["annotations"] if not one["iscrowd"]]
    rng = np.random.default_rng(0)
    numbers = [category["id"] for category in truth["categories"]]
    for category in truth["categories"]:
        category["frequency"] = "rcf"[category["id"] % 3]
    for image in truth["images"]:
        image["neg_category_ids"] = rng.choice(numbers, 20, replace=False).tolist()
        image["not_exhaustive_category_ids"] = rng.choice(numbers, 10, replace=False).tolist()
    metrics = evaluate_lvis(GroundTruth.of(truth), found, kind=kind)
    gt = package.COCO(copy.deepcopy(truth))
    theirs = package.COCOeval_faster(gt, gt.loadRes(copy.deepcopy(found)), kind, lvis_style=True)
    theirs.params.maxDets = [300]
    theirs.evaluate()
    theirs.accumulate()
    precision = np.asarray(theirs.eval["precision"])[..., -1]  # (T, R, K, A)
    for column, name in enumerate(("ap", "ap_small", "ap_medium", "ap_large")):
        values = precision[..., column]
        assert metrics[name] == pytest.approx(values[values > -1].mean(), abs=1e-9)
    for remainder, name in enumerate(("rare", "common", "frequent")):
        values = precision[:, :, np.array(sorted(numbers)) % 3 == remainder, 0]
        assert metrics[f"ap_{name}"] == pytest.approx(values[values > -1].mean(), abs=1e-9)
