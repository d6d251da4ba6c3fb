import functools
import json

import numpy as np
import pytest

from kmrcnn.postprocess import nms as module
from kmrcnn.postprocess.nms import NEVER, grouped_nms


@pytest.fixture(params=["combined", "fixpoint", "unrolled", "per_image"])
def form(request, monkeypatch):
    """TensorFlow's kernel, what other backends run, and what exported graphs hold."""
    chosen = functools.partial(module.grouped_nms, form=request.param)
    monkeypatch.setitem(globals(), "grouped_nms", chosen)
    return request.param


def keep(boxes, scores, threshold, most=None, groups=None, **options):
    """Boxes and scores that stay, for (N, 4) boxes of one picture with a group each."""
    number = len(boxes)
    groups = np.zeros(number, int) if groups is None else groups
    table = np.full((1, number, max(groups, default=0) + 1), NEVER, "float32")
    table[0, np.arange(number), groups] = scores
    boxes = np.asarray(boxes, "float32").reshape(1, number, 1, 4)
    kept = grouped_nms(boxes, table, threshold, most or number, **options)
    kept = {name: np.asarray(value)[0] for name, value in kept._asdict().items()}
    assert (np.diff(kept["valid"].astype(int)) <= 0).all()  # valid ones first
    return {name: value[kept["valid"]] for name, value in kept.items()}


CASES = [(f"c{i}", kind) for i in range(7) for kind in ("nms", "batched")]
CASES += [(f"e{i}", "nms") for i in range(3)]  # overlaps of exactly the threshold


@pytest.mark.parametrize("name, kind", CASES)
def test_equals_torchvision(name, kind, form, cases_dir):
    arrays = np.load(cases_dir / "nms_iou.npz")
    info = json.loads((cases_dir / "nms_iou.json").read_text())["cases"]
    info = next(case for case in info if case["case"] == name)
    boxes, scores = (arrays[info.get(k, f"{name}_{k}")] for k in ("boxes", "scores"))
    groups = arrays[f"{name}_classes"] if kind == "batched" else None
    index = arrays[f"{name}_{kind}"]
    kept = keep(boxes, scores, info["iou_threshold"], groups=groups)
    assert len(kept["boxes"]) == len(index)
    np.testing.assert_array_equal(kept["scores"], scores[index])
    if info.get("ties", True):  # equal scores may come in another order
        assert set(map(tuple, kept["boxes"])) == set(map(tuple, boxes[index]))
        return
    np.testing.assert_array_equal(kept["boxes"], boxes[index])
    if groups is not None:
        np.testing.assert_array_equal(kept["groups"], groups[index])


# Neighbours overlap by 5/15 > 0.3, others not at all: every second one stays, one decides the next.
CHAIN = np.array([[5.0 * i, 0, 5.0 * i + 10, 10] for i in range(9)])


def test_chain_of_suppressions(form):
    kept = keep(CHAIN, np.arange(9, 0, -1), 0.3)
    np.testing.assert_array_equal(kept["boxes"][:, 0], [0, 10, 20, 30, 40])
    kept = keep(CHAIN, [5, 4, 6, 3, 7, 2, 8, 1, 9], 0.3)
    np.testing.assert_array_equal(kept["boxes"][:, 0], [40, 30, 20, 10, 0])
    kept = keep(CHAIN[:4], [1, 2, 3, 4], 0.3)
    np.testing.assert_array_equal(kept["boxes"][:, 0], [15, 5])


def test_groups_do_not_see_each_other(form):
    kept = keep(np.tile(CHAIN[0], (4, 1)), [4, 3, 2, 1], 0.5, groups=[0, 1, 0, 1])
    np.testing.assert_array_equal(kept["scores"], [4, 3])
    np.testing.assert_array_equal(kept["groups"], [0, 1])


def test_overlap_of_exactly_the_threshold_stays(form):
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]  # IoU 0.5
    assert len(keep(boxes, [2, 1], 0.5)["boxes"]) == 2
    assert len(keep(boxes, [2, 1], 0.4999)["boxes"]) == 1


@pytest.mark.parametrize("offset", [0, -100])
def test_negative_scores(form, offset):
    scores = np.array([0.5, -3, 2, -0.25, 1, -7, 0, 4, -1]) + offset
    kept = keep(CHAIN, scores, 0.3)
    np.testing.assert_array_equal(kept["boxes"][:, 0], [35, 10, 20, 0])
    np.testing.assert_allclose(kept["scores"], np.array([4, 2, 1, 0.5]) + offset)


def test_score_threshold_is_exclusive(form):
    scores = np.array([0.25, 0.5, 0.75, 0.125], "float32")
    kept = keep(CHAIN[::2][:4], scores, 0.5, score_threshold=0.25)
    np.testing.assert_array_equal(kept["scores"], [0.75, 0.5])


def test_ties_keep_one_of_equal_boxes(form):
    kept = keep(np.tile(CHAIN[:1], (5, 1)), np.ones(5), 0.5)
    np.testing.assert_array_equal(kept["boxes"], CHAIN[:1])


def test_limit_counts_over_all_groups(form):
    kept = keep(CHAIN[::2], [5, 4, 3, 2, 1], 0.3, most=3, groups=[0, 1, 0, 1, 0])
    np.testing.assert_array_equal(kept["scores"], [5, 4, 3])


@pytest.mark.parametrize("threshold", [NEVER / 2, 0.1])
def test_padding(form, threshold):
    """More places than boxes, and a picture without any."""
    boxes = np.tile(CHAIN[None, ::4, None], (2, 1, 1, 1)).astype("float32")
    scores = np.array([[[0.5], [0.75], [NEVER]], [[NEVER]] * 3], "float32")
    kept = grouped_nms(boxes, scores, 0.5, 5, threshold)
    np.testing.assert_array_equal(kept.valid, [[True] * 2 + [False] * 3, [False] * 5])
    np.testing.assert_array_equal(kept.scores, [[0.75, 0.5, 0, 0, 0], [0] * 5])
    np.testing.assert_array_equal(kept.boxes[0, :2], CHAIN[[4, 0]])
    for values in (kept.boxes[0, 2:], kept.boxes[1]):
        np.testing.assert_array_equal(values, np.zeros((len(values), 4)))
    np.testing.assert_array_equal(kept.groups, np.zeros((2, 5)))
    assert kept.boxes.shape == (2, 5, 4)


def test_boxes_per_group(form):
    """(B, N, G, 4): every group has its own box of a row."""
    boxes = np.stack([CHAIN[[0, 1]], CHAIN[[4, 5]]], 1)[None].astype("float32")
    scores = np.array([[[0.9, 0.6], [0.8, 0.7]]], "float32")
    kept = grouped_nms(boxes, scores, 0.3, 4)
    np.testing.assert_array_equal(np.asarray(kept.boxes)[0, :2], CHAIN[[0, 5]])
    np.testing.assert_array_equal(kept.groups, [[0, 1, 0, 0]])
    np.testing.assert_array_equal(kept.valid, [[True, True, False, False]])


def test_empty_and_inverted_boxes_suppress_nothing(form):
    boxes = [[0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]]
    kept = keep(boxes, [4, 3, 2, 1], 0.5)
    np.testing.assert_array_equal(kept["scores"], [4, 3, 2])


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("signed", [True, False])
def test_both_forms_agree(threshold, signed, monkeypatch):
    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 60, (2, 120, 3, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(5, 40, corners.shape)], -1)
    scores = draw.permutation(720).reshape(2, 120, 3) / 720 - 0.5 * signed
    arguments = boxes.astype("float32"), scores.astype("float32"), threshold, 60
    options = {} if signed else {"score_threshold": 0.2}
    combined = grouped_nms(*arguments, **options)
    monkeypatch.setattr(module.keras.backend, "backend", lambda: "another")
    fixpoint = grouped_nms(*arguments, **options)
    for one, other in zip(combined, fixpoint):
        np.testing.assert_array_equal(one, other)
    assert np.asarray(combined.valid).any()


def test_most_candidates_bound_the_work(monkeypatch):
    """Exact as long as the candidates hold what survives."""
    monkeypatch.setattr(module.keras.backend, "backend", lambda: "another")
    kept = keep(CHAIN, np.arange(9, 0, -1), 0.3, most=2, max_candidates=4)
    np.testing.assert_array_equal(kept["boxes"][:, 0], [0, 10])


def test_in_a_graph_with_unknown_batch(form):
    tf = pytest.importorskip("tensorflow")
    signature = [tf.TensorSpec((None, 9, 1, 4)), tf.TensorSpec((None, 9, 1))]
    run = tf.function(lambda boxes, scores: grouped_nms(boxes, scores, 0.3, 4), signature)
    if form == "per_image":  # a call of its kernel for every image of a batch of known size
        with pytest.raises(ValueError, match="fixed batch size"):
            run.get_concrete_function()
        return
    for batch in (0, 2):
        boxes = np.tile(CHAIN[None, :, None], (batch, 1, 1, 1)).astype("float32")
        scores = np.tile(np.arange(9.0, 0, -1)[None, :, None], (batch, 1, 1)).astype("float32")
        kept = run(boxes, scores)
        assert kept.boxes.shape == (batch, 4, 4)
        np.testing.assert_array_equal(kept.boxes[..., 0], np.tile([[0, 10, 20, 30]], (batch, 1)))
