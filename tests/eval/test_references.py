"""The evaluator against numbers that pycocotools gave for the same files."""

import json

import numpy as np
import pytest

from kmrcnn.data.datasets.coco import load_coco
from kmrcnn.eval.coco_evaluator import PREFIXES, CocoEvaluator

BOX_METRICS = "ap ap50 ap75 ap_small ap_medium ap_large ar1 ar10 ar100 ar_small ar_medium ar_large"
KEYPOINT_METRICS = "ap ap50 ap75 ap_medium ap_large ar ar50 ar75 ar_medium ar_large"
METRICS = {"bbox": BOX_METRICS, "segm": BOX_METRICS, "keypoints": KEYPOINT_METRICS}
SETS = {  # folder, ground truth, detections, kind
    "mini-bbox": ("coco_mini_perturbed", "gt_instances", "dt_bbox", "bbox"),
    "mini-segm": ("coco_mini_perturbed", "gt_instances", "dt_segm", "segm"),
    "mini-keypoints": ("coco_mini_perturbed", "gt_keypoints", "dt_keypoints", "keypoints"),
    "cocoapi-bbox": (
        "cocoapi",
        "instances_val2014_100",
        "instances_val2014_fakebbox100_results",
        "bbox",
    ),
    "cocoapi-segm": (
        "cocoapi",
        "instances_val2014_100",
        "instances_val2014_fakesegm100_results",
        "segm",
    ),
    "one-image": ("keypoints_one_image", "gt", "dt", "keypoints"),
}


@pytest.fixture(params=["pycocotools", "faster_coco_eval"])
def engine(request):
    pytest.importorskip(request.param)
    return request.param


def values(evaluator, kind) -> np.ndarray:
    """In the order of pycocotools' `stats`, undefined as -1."""
    metrics = evaluator.summarize()
    prefix = PREFIXES[kind]
    return np.nan_to_num([metrics[f"{prefix}_{name}"] for name in METRICS[kind].split()], nan=-1.0)


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_stored_case(cases_dir, engine, kind):
    evaluator = CocoEvaluator(cases_dir / "coco_eval_gt.json", (kind,), engine=engine)
    evaluator.add_results(json.loads((cases_dir / "coco_eval_dets.json").read_text()))
    expected = json.loads((cases_dir / "coco_eval.json").read_text())["stats"][kind]
    np.testing.assert_allclose(values(evaluator, kind), expected, rtol=0, atol=1e-9)
    arrays = np.load(cases_dir / "coco_eval.npz")  # float32
    table = evaluator.match_table(kind)
    np.testing.assert_allclose(
        table.precision, arrays[f"{kind}_precision"][..., -1], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(table.recall, arrays[f"{kind}_recall"], rtol=0, atol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("name", SETS)
def test_every_published_number(data_dir, engine, name):
    folder, truth, found, kind = SETS[name]
    root = data_dir / "evaluator" / folder
    evaluator = CocoEvaluator(root / f"{truth}.json", (kind,), engine=engine)
    evaluator.add_results(json.loads((root / f"{found}.json").read_text()))
    expected = json.loads((root / "expected.json").read_text())[kind]
    stats = list(expected["stats"].values())
    np.testing.assert_allclose(values(evaluator, kind), stats, rtol=0, atol=1e-6)
    per_class = {
        str(line.category_id): line.scores[f"{PREFIXES[kind]}_ap"] for line in evaluator.per_class()
    }
    for category_id, value in expected["per_category_AP"].items():
        assert np.nan_to_num(per_class[category_id], nan=-1.0) == pytest.approx(value, abs=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mini-bbox", "mini-segm", "cocoapi-segm"])
def test_engines_agree_in_every_entry(data_dir, name):
    pytest.importorskip("faster_coco_eval")
    folder, truth, found, kind = SETS[name]
    root = data_dir / "evaluator" / folder
    tables = []
    for engine in ("pycocotools", "faster_coco_eval"):
        evaluator = CocoEvaluator(root / f"{truth}.json", (kind,), engine=engine)
        evaluator.add_results(json.loads((root / f"{found}.json").read_text()))
        tables.append(evaluator.match_table(kind))
    for field in ("precision", "scores", "recall"):
        one, other = (getattr(table, field) for table in tables)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mini-bbox", "mini-segm", "mini-keypoints"])
def test_a_loaded_dataset_gives_the_numbers_of_its_file(data_dir, name):
    """The way over `AnnotatedImages`; a difference would be a loader that changes annotations."""
    folder, truth, found, kind = SETS[name]
    root = data_dir / "evaluator" / folder
    dataset = load_coco(root / f"{truth}.json", require_images=False)
    evaluator = CocoEvaluator(dataset, (kind,))
    evaluator.add_results(json.loads((root / f"{found}.json").read_text()))
    expected = json.loads((root / "expected.json").read_text())[kind]
    stats = list(expected["stats"].values())
    np.testing.assert_allclose(values(evaluator, kind), stats, rtol=0, atol=1e-6)
