import json

import keras
import numpy as np
import pytest

from kmrcnn.config.schema import AnchorConfig, RPNConfig
from kmrcnn.losses.regression import regression_loss
from kmrcnn.losses.rpn import rpn_losses
from kmrcnn.rpn.rpn import RegionProposalNetwork
from kmrcnn.targets import box_coder
from kmrcnn.targets.sampler import Sampled
from tests.layer_check import layer_check

LEVELS = {f"P{i}": (6, 2**i) for i in range(2, 7)}
SIZES = np.array([[64, 96], [50, 90]], "int32")
IMAGES = np.zeros((2, 64, 96, 3), "float32")


def make_rpn(levels=LEVELS, anchors=None, **config):
    anchors = anchors or AnchorConfig(sizes=tuple((8.0 * 2**i,) for i in range(len(levels))))
    return RegionProposalNetwork(RPNConfig(**config), anchors, levels, seed=0, name="rpn")


def features(batch=2, seed=0):
    draw = np.random.default_rng(seed)
    return {
        name: draw.normal(size=(batch, -(-64 // s), -(-96 // s), c)).astype("float32")
        for name, (c, s) in LEVELS.items()
    }


def test_layer():
    def make():
        return make_rpn(num_convs=2, post_nms_top_n=5)

    def loss(rpn):
        logits, deltas = rpn.predict_boxes(features())
        return sum(keras.ops.mean(value**2) for value in logits + deltas)

    # float16 may order proposals of nearly equal score differently
    rpn = layer_check(make, features(), IMAGES, SIZES, float16_atol=1e9, loss=loss)
    assert {w.path for w in rpn.weights if "seed" not in w.path} == {
        f"rpn/{part}/{kind}"
        for part in ("conv1", "conv2", "objectness", "deltas")
        for kind in ("kernel", "bias")
    }
    assert rpn.convs[0].kernel.shape == (3, 3, 6, 6)


def test_outputs_are_padded_and_sorted():
    proposals = make_rpn(post_nms_top_n=2000)(features(), IMAGES, SIZES)
    proposals = {name: np.asarray(value) for name, value in proposals.items()}
    shapes = {name: (value.shape, str(value.dtype)) for name, value in proposals.items()}
    assert shapes == {
        "boxes": ((2, 2000, 4), "float32"),
        "scores": ((2, 2000), "float32"),
        "levels": ((2, 2000), "int32"),
        "valid": ((2, 2000), "bool"),
    }
    for boxes, scores, valid, (height, width) in zip(
        proposals["boxes"], proposals["scores"], proposals["valid"], SIZES
    ):
        number = valid.sum()
        assert 100 < number < 2000
        assert valid[:number].all()
        assert (np.diff(scores[:number]) <= 0).all()
        assert (boxes[:number] >= 0).all()
        assert (boxes[:number] <= (width, height, width, height)).all()
        assert (boxes[:number, 2:] > boxes[:number, :2]).all()
        assert (boxes[number:] == 0).all()


def test_deltas_belong_to_the_anchor_of_the_same_row():
    """A single objectness peak: the proposal is that anchor, moved by its own deltas."""
    rpn = make_rpn(post_nms_top_n=1)
    maps = features(batch=1)
    rpn(maps, IMAGES[:1], SIZES[:1])
    rpn.convs[0].kernel.assign(
        np.eye(6)[None, None] * np.eye(3)[1][:, None, None, None] * np.eye(3)[1][:, None, None]
    )
    rpn.objectness.kernel.assign(np.eye(6, 3)[None, None])  # anchor a scores channel a
    deltas = np.zeros((1, 1, 6, 12))
    deltas[0, 0, 3, 4:8] = (0.1, -0.2, 0.3, -0.4)  # channel 3 moves anchor 1
    rpn.deltas.kernel.assign(deltas)
    maps = {name: np.zeros_like(value) for name, value in maps.items()}
    maps["P4"][0, 2, 3, 1], maps["P4"][0, 2, 3, 3] = 5.0, 1.0
    proposals = rpn(maps, IMAGES[:1], SIZES[:1])
    anchor = np.array(
        [[48 - 16, 32 - 16, 48 + 16, 32 + 16]], "float32"
    )  # stride 16, size 32, square
    want = box_coder.decode(np.array([[0.1, -0.2, 0.3, -0.4]]), anchor, (1, 1, 1, 1))
    np.testing.assert_allclose(proposals["boxes"][0], want, atol=1e-4)
    np.testing.assert_allclose(proposals["scores"], [[5.0]])
    np.testing.assert_array_equal(proposals["levels"], [[2]])


def test_training_only_changes_the_numbers_kept():
    rpn = make_rpn(post_nms_top_n=4, post_nms_top_n_train=7)
    maps = features()
    few, many = rpn(maps, IMAGES, SIZES), rpn(maps, IMAGES, SIZES, training=True)
    assert few["boxes"].shape == (2, 4, 4)
    np.testing.assert_array_equal(many["boxes"][:, :4], few["boxes"])
    assert many["boxes"].shape == (2, 7, 4)


@pytest.mark.parametrize("system", ["tv", "d2"])
def test_propose_equals_reference(system, cases_dir):
    """The reference's decoded boxes are the anchors, and the deltas are zero."""
    arrays = np.load(cases_dir / "rpn_filter.npz")
    info = json.loads((cases_dir / "rpn_filter.json").read_text())
    rules = {"rank_by": "sigmoid", "min_size": 1e-3} if system == "tv" else {}
    rpn = make_rpn(pre_nms_top_n=100, post_nms_top_n=80, nms_threshold=0.7, **rules)
    cuts = np.cumsum(info["anchors_per_level"])[:-1]
    for image, size in enumerate(info["image_sizes"]):
        anchors = np.split(arrays["proposals"][image], cuts)
        logits = [part[None] for part in np.split(arrays["objectness"][image], cuts)]
        deltas = [np.zeros((1, len(part), 4), "float32") for part in anchors]
        got = rpn.propose(logits, deltas, anchors, np.array([size]))
        valid = np.asarray(got["valid"])[0]
        want = arrays[f"{system}_boxes{image}"]
        scores = arrays[f"{system}_{'scores' if system == 'tv' else 'logits'}{image}"]
        assert valid.sum() == len(want)
        np.testing.assert_allclose(np.asarray(got["boxes"])[0, valid], want, atol=1e-3)
        np.testing.assert_allclose(np.asarray(got["scores"])[0, valid], scores, atol=1e-6)


@pytest.mark.parametrize("rank_by", ["logits", "sigmoid"])
def test_propose_by_hand(rank_by):
    """Suppression within a level, clipping, empty and small boxes, fewer anchors than places."""
    rpn = make_rpn(
        {"P2": (6, 4), "P3": (6, 8)},
        nms_threshold=0.5,
        min_size=2.0,
        rank_by=rank_by,
        post_nms_top_n=10,
    )
    first = [[0, 0, 10, 10], [1, 0, 11, 10], [-30, -30, 6, 8], [60, 10, 70, 20], [20, 20, 21, 30]]
    second = [[0, 0, 10, 10], [5, 5, 5, 25], [40, 40, 30, 50]]
    logits = [np.array([[1, 2, -3, 9, 8]], "float32"), np.array([[-50, 3, 4]], "float32")]
    anchors = [np.array(first, "float32"), np.array(second, "float32")]
    deltas = [np.zeros((1, len(a), 4), "float32") for a in anchors]
    got = rpn.propose(logits, deltas, anchors, np.array([[50, 50]]))
    want = [[1, 0, 11, 10], [0, 0, 6, 8], [0, 0, 10, 10]]
    scores = np.array([2, -3, -50.0])
    np.testing.assert_array_equal(got["valid"], [[True] * 3 + [False] * 7])
    np.testing.assert_allclose(got["boxes"][0, :3], want, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(got["levels"])[0, :3], [0, 0, 1])
    if rank_by == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(got["scores"][0, :3], scores, rtol=1e-5)


def test_no_usable_anchor_gives_no_proposal():
    rpn = make_rpn({"P2": (6, 4)}, post_nms_top_n=3)
    nan = np.full((1, 2, 4), np.nan, "float32")
    got = rpn.propose(
        [np.ones((1, 2), "float32")], [nan], [np.ones((2, 4), "float32")], np.array([[9, 9]])
    )
    assert not np.asarray(got["valid"]).any()
    assert np.isfinite(got["boxes"]).all()


def test_proposals_carry_no_gradient():
    tf = pytest.importorskip("tensorflow")
    rpn = make_rpn(post_nms_top_n=5)
    maps = features()
    rpn(maps, IMAGES, SIZES)
    with tf.GradientTape() as tape:
        proposals = rpn(maps, IMAGES, SIZES)
    assert tape.gradient(proposals["boxes"], rpn.deltas.kernel.value) is None


def everything(foreground, background, *_):
    return Sampled(foreground, background)


@pytest.mark.parametrize("divisor", ["samples_per_image", "sampled"])
def test_losses_by_hand(divisor):
    """Of three anchors the best is foreground, one overlaps by 0.6 and is ignored."""
    rpn = make_rpn({"P2": (6, 4)}, loss_divisor=divisor, samples_per_image=10)
    anchors = [np.array([[0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60]], "float32")]
    targets = {
        "boxes": np.array([[[0, 0, 10, 12], [0, 0, 0, 0]]], "float32"),
        "valid": np.array([[True, False]]),
    }
    logits, deltas = [np.array([[0.5, 7.0, -1.0]], "float32")], [np.ones((1, 3, 4), "float32")]
    losses = rpn.compute_losses(logits, deltas, anchors, targets, draw=everything)
    number = 10 if divisor == "samples_per_image" else 2
    goal = np.array([0, 0.1, 0, np.log(1.2)])
    assert float(losses["loss_rpn_box"]) == pytest.approx(np.abs(1 - goal).sum() / number, rel=1e-5)
    want = (np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0))) / number
    assert float(losses["loss_rpn_cls"]) == pytest.approx(want, rel=1e-5)


def test_losses_are_those_of_all_levels_together():
    rpn = make_rpn(smooth_l1_beta=1 / 9, loss_divisor="sampled")
    logits, deltas = rpn.predict_boxes(features())
    anchors = rpn.make_anchors(features(), IMAGES)
    boxes = np.array(
        [[[10, 10, 40, 30], [60, 20, 90, 60]], [[5, 5, 20, 50], [0, 0, 0, 0]]], "float32"
    )
    targets = {"boxes": boxes, "valid": np.array([[True, True], [True, False]])}
    seen = {}

    def draw(foreground, background, *_):
        seen.update(foreground=np.asarray(foreground), background=np.asarray(background))
        return Sampled(foreground, background)

    losses = rpn.compute_losses(logits, deltas, anchors, targets, draw)
    flat = np.concatenate(anchors)
    assert seen["foreground"].sum(1).min() >= 1
    assert not (seen["foreground"] & seen["background"]).any()
    goals = np.zeros((2, len(flat), 4), "float32")
    for b in range(2):
        valid = boxes[b][targets["valid"][b]]
        for a in np.nonzero(seen["foreground"][b])[0]:
            best = max(valid, key=lambda gt: _iou(gt, flat[a]))
            goals[b, a] = box_coder.encode(best[None], flat[a][None], (1, 1, 1, 1))
    want = rpn_losses(
        np.concatenate(logits, 1), np.concatenate(deltas, 1), goals,
        seen["foreground"], seen["background"], regression_loss("smooth_l1", 1 / 9, None, None),
    )  # fmt: skip
    for name in want:
        assert float(losses[name]) == pytest.approx(float(want[name]), rel=1e-5)


def _iou(a, b):
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    overlap = max(w, 0) * max(h, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


@pytest.mark.parametrize("divisor", ["samples_per_image", "sampled"])
def test_losses_without_objects(divisor):
    rpn = make_rpn(loss_divisor=divisor)
    logits, deltas = rpn.predict_boxes(features())
    targets = {"boxes": np.zeros((2, 3, 4), "float32"), "valid": np.zeros((2, 3), bool)}
    losses = rpn.compute_losses(logits, deltas, rpn.make_anchors(features(), IMAGES), targets)
    assert float(losses["loss_rpn_box"]) == 0
    assert 0 < float(losses["loss_rpn_cls"]) < 1


def test_objects_without_area_are_left_out():
    rpn = make_rpn()
    logits, deltas = rpn.predict_boxes(features())
    anchors = rpn.make_anchors(features(), IMAGES)
    boxes = np.array([[[5, 5, 40, 30], [7, 7, 7, 20], [30, 30, 20, 20]]] * 2, "float32")
    losses = [
        rpn.compute_losses(
            logits, deltas, anchors, {"boxes": boxes, "valid": np.array([valid] * 2)}, everything
        )
        for valid in ([True, True, True], [True, False, False])
    ]
    for name, value in losses[0].items():
        assert float(value) == float(losses[1][name])
        assert np.isfinite(float(value))
