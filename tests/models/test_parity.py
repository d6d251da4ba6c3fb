"""Whole models against torchvision and Detectron2, stage by stage, from the same weights (reference
cases).

A stage is fed with what the reference fed it where the case holds that, so that a break shows where
it is.
"""

from __future__ import annotations

import functools
import re

import keras
import numpy as np
import pytest

from kmrcnn.data.preprocess import pad_to_canvas, to_network
from kmrcnn.layers.deconv_upsample import double
from kmrcnn.models.build import build_model
from kmrcnn.postprocess.keypoints import double_heatmaps, heatmaps_to_keypoints
from kmrcnn.postprocess.to_original import frame_scale, to_original_frame
from kmrcnn.roi.packing import pack
from kmrcnn.weights.assign import load_tensors
from kmrcnn.weights.sources import SOURCES
from tests.conftest import CASES
from tests.reference_cases import Case

PENDING = (
    "cascade",
    "dconv",
    "panoptic",
    "pointrend",
)  # other parts of the model family


def _case_names() -> list[str]:
    names = sorted(p.stem for p in CASES.glob("*.npz") if p.name.startswith(("tv_", "d2_")))
    return names or ["no reference cases"]


def _parameters():
    for name in _case_names():
        pending = [word for word in PENDING if word in name.lower()]
        marks = []
        if pending:
            marks = [pytest.mark.skip(reason=f"pending: {pending[0]} is not built yet")]
        elif name.startswith(("tv_full", "d2_full")):
            marks = [pytest.mark.realdata]
        yield pytest.param(name, marks=marks, id=name)


class Run:
    """A case, the model with its weights, the network's inputs, and what is computed once."""

    def __init__(self, name: str):
        keras.backend.clear_session()
        self.case = Case(CASES, name)
        self.model = build_model(self.case.config)
        report = load_tensors(self.model, self.case.tensors, SOURCES[self.case.source])
        assert not report.reinitialised and not report.adapted
        images = self.case.images
        if self.case.source == "torchvision":
            images = [to_network(image, self.case.config.input) for image in images]
        else:  # the reference was fed unresized
            images = [image[..., ::-1].astype("float32") for image in images]
        canvas, self.sizes = pad_to_canvas(images, self.case.config.input.pad_multiple)
        self.inputs = {"images": canvas, "image_sizes": self.sizes}

    @functools.cached_property
    def body(self) -> dict:
        images = self.model.normalize(self.inputs["images"], self.inputs["image_sizes"])
        return self.model.backbone(images)

    @functools.cached_property
    def pyramid(self) -> dict:
        return self.model.neck(self.body)

    @functools.cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        return {k: np.asarray(v) for k, v in self.model.predict_on_batch(self.inputs).items()}


@pytest.fixture(scope="module", params=_parameters())
def run(request, cases_dir):
    """One model at a time: pytest runs all tests of a case before it makes the next."""
    return Run(request.param)


def nchw(x) -> np.ndarray:
    return np.moveaxis(np.asarray(x), -1, 1)


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def test_normalised_input(run):
    case, model, inputs = run.case, run.model, run.inputs
    if not case.has("mid/images"):
        pytest.skip("the case holds no network input")
    got = nchw(model.normalize(inputs["images"], inputs["image_sizes"]))[:1]
    tolerance = 1e-5 if case.source == "torchvision" else 0
    np.testing.assert_allclose(got, case.arrays["mid/images"], rtol=1e-6, atol=tolerance)


def test_backbone_and_pyramid(run):
    case, _model, _inputs = run.case, run.model, run.inputs
    for prefix, features in (("mid/body/", run.body), ("mid/fpn/", run.pyramid)):
        stored = case.stage(prefix)
        assert stored or prefix == "mid/body/" and case.config.neck.name != "fpn"
        for key, want in stored.items():
            got = nchw(_level(features, key))[: len(want)]
            if case.is_subsampled:
                got = got[:, :: max(got.shape[1] // 16, 1), ::2, ::2]
            assert relative_error(got, want) <= 1e-4, key


def _level(features: dict, key: str):
    if key == "pool":
        return list(features.values())[-1]
    digits = "".join(c for c in key if c.isdigit())
    number = int(digits) + (2 if key == digits else 0)
    return next(value for name, value in features.items() if name[1:] == str(number))


def test_rpn_head(run):
    case, model, _inputs = run.case, run.model, run.inputs
    logits, deltas = model.rpn.predict_boxes(run.pyramid)
    sizes = [np.asarray(value).shape[1:3] for value in run.pyramid.values()]
    for kind, values in enumerate((logits, deltas)):
        for level, (value, (height, width)) in enumerate(zip(values, sizes)):
            want = case.stage(f"mid/rpn_head/{kind}/")[str(level)]
            got = nchw(np.reshape(value, (len(value), height, width, -1)))[: len(want)]
            if got.shape != want.shape:
                got = got[:, :, ::2, ::2]
            scale = max(1.0, np.abs(want).max())
            assert np.abs(got - want).max() <= 1e-4 * scale, (kind, level)


def test_anchors(run):
    case, model, inputs = run.case, run.model, run.inputs
    if not case.has("mid/anchors"):
        pytest.skip("the case holds no anchors")
    anchors = model.rpn.make_anchors(run.pyramid, inputs["images"])
    np.testing.assert_array_equal(np.concatenate(anchors), case.arrays["mid/anchors"])


def _reference_proposals(case) -> list[np.ndarray]:
    found = case.stage("mid/proposals/")
    return [found[k] for k in sorted(found) if k.split("/")[-1] in ("0", "1", "proposal_boxes")]


def test_proposals(run):
    case, model, inputs = run.case, run.model, run.inputs
    proposals = model.rpn(run.pyramid, inputs["images"], inputs["image_sizes"])
    for row, want in enumerate(_reference_proposals(case)):
        got = np.asarray(proposals["boxes"][row])[np.asarray(proposals["valid"][row])]
        assert got.shape == want.shape
        distance = np.abs(got[:, None] - want[None]).max(-1)
        assert distance.min(0).max() <= 1e-2  # the same set
        assert distance.min(1).max() <= 1e-2


def test_box_branch_on_reference_proposals(run):
    case, model, _inputs = run.case, run.model, run.inputs
    boxes = _reference_proposals(case)
    number = max(map(len, boxes))
    padded = np.stack([np.pad(b, ((0, number - len(b)), (0, 0))) for b in boxes])
    valid = np.stack([np.arange(number) < len(b) for b in boxes])
    outputs = model.roi_heads.box(run.pyramid, padded, valid)
    want_logits, want_deltas = case.arrays["mid/box_pred/0"], case.arrays["mid/box_pred/1"]
    logits = np.asarray(outputs["class_logits"])[valid][: len(want_logits)]
    deltas = np.asarray(outputs["box_deltas"])[valid][: len(want_logits)]
    if case.source == "torchvision":  # background first, and a slot for its deltas
        want_logits = np.roll(want_logits, -1, axis=1)
        want_deltas = want_deltas[:, 4:]
    np.testing.assert_allclose(logits, want_logits, atol=1e-4 * max(1, np.abs(want_logits).max()))
    want_deltas = want_deltas.reshape(deltas.shape)
    np.testing.assert_allclose(deltas, want_deltas, atol=1e-4 * max(1, np.abs(want_deltas).max()))


def _labels(case, image):
    if case.source == "torchvision":
        return case.output(image, "labels") - 1
    return case.output(image, "classes")


def _original_size(run, image) -> tuple[int, int]:
    case = run.case
    if "output_size" in case.info:
        return tuple(case.info["output_size"][image])
    stated = re.search(r"output (\d+)x(\d+)", str(case.info.get("settings")))
    if stated:
        return int(stated.group(1)), int(stated.group(2))
    if case.source == "detectron2":
        return tuple(case.arrays[f"out/{image}/pred_masks"].shape[1:])
    return case.images[image].shape[:2]


def _final(run, image) -> dict:
    outputs = {k: v[image] for k, v in run.outputs.items()}
    config = run.case.config
    return to_original_frame(
        outputs,
        run.sizes[image],
        _original_size(run, image),
        config.mask,
        keypoint_config=config.keypoint,
    )


def test_detections_and_their_masks_and_keypoints(run):
    case, _model, _inputs, _sizes = run.case, run.model, run.inputs, run.sizes
    for image in range(len(case.images)):
        got = _final(run, image)
        boxes, scores, labels = (
            case.output(image, "boxes"),
            case.output(image, "scores"),
            _labels(case, image),
        )
        assert len(got["boxes"]) == len(boxes)
        order = _match(got, boxes, labels)
        assert sorted(order) == list(range(len(boxes)))
        np.testing.assert_array_equal(got["classes"][order], labels)
        np.testing.assert_allclose(got["boxes"][order], boxes, atol=1e-2)
        np.testing.assert_allclose(got["scores"][order], scores, atol=1e-4)
        if got["masks"] is not None:
            _compare_masks(case, image, got["masks"][order])
        if got["keypoints"] is not None:
            _compare_keypoints(case, image, got["keypoints"][order])


def _match(got: dict, boxes: np.ndarray, labels: np.ndarray) -> list[int]:
    """Index of our detection for each of the reference: same class, nearest box."""
    distance = np.abs(got["boxes"][None] - boxes[:, None]).max(-1)
    distance = distance + 1e6 * (got["classes"][None] != labels[:, None])
    return distance.argmin(1).tolist()


def _compare_masks(case, image, masks):
    want = case.output(image, "masks")
    if case.source == "torchvision":
        want = want[:, 0] > 0.5
    equal = (masks[: len(want)] == want).mean()
    assert equal >= 0.999


def _compare_keypoints(case, image, keypoints):
    want = case.output(image, "keypoints")
    scores = want[..., 2]
    if case.source == "torchvision":
        scores = case.output(image, "keypoints_scores")
    np.testing.assert_allclose(keypoints[..., :2], want[..., :2], atol=0.5)
    np.testing.assert_allclose(keypoints[..., 2], scores, atol=1e-3)


def _reference_detections(run) -> np.ndarray:
    """The reference's boxes (1, D, 4) of the first picture, network frame."""
    stored = run.case.stage("mid/det/0/")
    if stored:
        return stored["boxes" if run.case.source == "torchvision" else "pred_boxes"][None]
    scale = frame_scale(run.sizes[0], _original_size(run, 0))
    return (run.case.output(0, "boxes") / scale)[None]


def _mask_logits(run) -> tuple[np.ndarray, np.ndarray]:
    """Our logits and the reference's (n, M, M, K), on its detections."""
    want = np.moveaxis(run.case.arrays["mid/mask_logits"], 1, -1)
    boxes = _reference_detections(run)[:, : len(want)]
    packed = pack(boxes, np.ones(boxes.shape[:2], bool))
    got = np.asarray(run.model.roi_heads.branches["mask"].predict_packed(run.pyramid, packed))
    return got, want[..., 1:] if run.case.source == "torchvision" else want


def test_mask_logits(run):
    if not run.case.has("mid/mask_logits"):
        pytest.skip("the case has no masks")
    got, want = _mask_logits(run)
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_keypoint_logits(run):
    if run.case.config.keypoint is None:
        pytest.skip("the case has no keypoints")
    is_doubled = run.case.has("mid/kp_logits")
    want = run.case.arrays["mid/kp_logits" if is_doubled else "mid/kp_lowres"]
    boxes = _reference_detections(run)[:, : len(want)]
    packed = pack(boxes, np.ones(boxes.shape[:2], bool))
    got = run.model.roi_heads.branches["keypoint"].predict_packed(run.pyramid, packed)
    got = double(got) if is_doubled else got
    np.testing.assert_allclose(nchw(got), want, atol=1e-3)


def test_keypoints_of_the_graph_are_those_of_the_heatmaps(run):
    """But for maps with two equal peaks, which random weights give now and then."""
    if run.case.config.keypoint is None:
        pytest.skip("the case has no keypoints")
    outputs = {name: value[0] for name, value in run.outputs.items()}
    valid = outputs["valid"]
    maps = double_heatmaps(outputs["keypoint_heatmaps"][valid])
    want = heatmaps_to_keypoints(maps, outputs["boxes"][valid], run.case.config.keypoint.score)
    distance = np.abs(outputs["keypoints"][valid] - want).max(axis=-1)
    assert (distance < 1e-2).mean() > 0.9


def test_soft_masks(run):
    case, _model, _inputs = run.case, run.model, run.inputs
    if case.source != "torchvision" or case.is_subsampled or case.config.mask is None:
        pytest.skip("only torchvision returns soft masks")
    outputs = {k: v[0] for k, v in run.outputs.items()}
    from kmrcnn.postprocess.paste_masks import paste_masks

    want = case.output(0, "masks")[:, 0]
    order = _match(
        outputs | {"boxes": outputs["boxes"]}, case.stage("mid/det/0/")["boxes"], _labels(case, 0)
    )
    boxes = case.output(0, "boxes")
    soft = paste_masks(outputs["masks"][order], boxes, want.shape[1:], "integer_box", None)
    np.testing.assert_allclose(soft, want, atol=1e-4)


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(n) * have // n for n, have in zip(size, mask.shape[-2:]))
    return mask[:, rows][:, :, columns]


def _training_targets(case, inputs, sizes) -> dict[str, np.ndarray]:
    torchvision = case.source == "torchvision"
    images = []
    for image, size in enumerate(sizes):
        stored = case.stage(f"train/in/{image}/")
        masks = stored["masks"]
        scale = np.array(size, "float32") / np.array(masks.shape[1:], "float32")
        canvas = np.zeros((len(masks), *inputs["images"].shape[1:3]), "uint8")
        canvas[:, : size[0], : size[1]] = _nearest(masks, size)
        classes = stored["labels"] - 1 if torchvision else stored["classes"]
        points = stored.get("keypoints", np.zeros((len(masks), 0, 3), "float32"))
        points = points * np.array([*scale[::-1], 1], "float32")
        images.append((stored["boxes"] * np.tile(scale[::-1], 2), classes, canvas, points))
    boxes, classes, masks, keypoints = (np.stack(values) for values in zip(*images))
    height, width = inputs["images"].shape[1:3]
    return {
        "boxes": boxes,
        "keypoints": keypoints,
        "classes": classes.astype("int32"),
        "valid": np.ones(classes.shape, bool),
        "masks": masks,
        "mask_windows": np.full((*classes.shape, 4), [0, 0, width, height], "float32"),
    }


LOSS_NAMES = {  # ours: torchvision's, Detectron2's
    "loss_rpn_cls": ("loss_objectness", "loss_rpn_cls"),
    "loss_rpn_box": ("loss_rpn_box_reg", "loss_rpn_loc"),
    "loss_cls": ("loss_classifier", "loss_cls"),
    "loss_box": ("loss_box_reg", "loss_box_reg"),
    "loss_mask": ("loss_mask", "loss_mask"),
    "loss_keypoint": ("loss_keypoint", "loss_keypoint"),
}


def _losses(run) -> dict[str, float]:
    """With every anchor and proposal sampled, so that nothing is random."""
    targets = _training_targets(run.case, run.inputs, run.sizes)
    losses = run.model(run.inputs | {"targets": targets}, training=True)
    return {name: float(value) for name, value in losses.items()}


def test_training_losses(run):
    stored = run.case.stage("train/loss/")
    if not stored:
        pytest.skip("the case holds no training step")
    for name, got in _losses(run).items():
        want = float(stored[LOSS_NAMES[name][run.case.source == "detectron2"]])
        np.testing.assert_allclose(got, want, rtol=1e-4, err_msg=name)
