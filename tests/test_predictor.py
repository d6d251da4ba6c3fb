"""The front door: every kind of picture in, detections in its own pixels out, clear errors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from kmrcnn.predictor import Predictor
from tests.tiny import CLASS_NAMES, tiny_config, tiny_inputs, tiny_model


@pytest.fixture(scope="module")
def predictor():
    return Predictor(tiny_model(), score_threshold=0.1)


def picture(height=120, width=150, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_same(got, want, atol=1e-3):
    assert len(got) == len(want) > 0
    np.testing.assert_allclose(got.boxes, want.boxes, atol=atol)
    np.testing.assert_allclose(got.scores, want.scores, atol=1e-4)
    np.testing.assert_array_equal(got.classes, want.classes)
    assert (got.masks == want.masks).mean() > 0.999


def test_detections_are_in_original_pixels(predictor):
    image = picture()
    found = predictor.predict(image)
    assert len(found) > 0
    assert found.image_size == (120, 150)
    assert found.masks.shape == (len(found), 120, 150) and found.masks.dtype == bool
    assert found.class_names == CLASS_NAMES
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= (150, 120)).all()
    assert found.boxes[:, 2].max() > 128  # beyond the network's width of 120
    assert found.scores.min() >= 0.1
    for box, mask in zip(found.boxes, found.masks):  # masks stay in their boxes
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert columns.min() >= np.floor(box[0]) - 1 and columns.max() <= np.ceil(box[2])
            assert rows.min() >= np.floor(box[1]) - 1 and rows.max() <= np.ceil(box[3])


def test_path_array_and_list_agree(predictor, tmp_path):
    image = picture()
    Image.fromarray(image).save(tmp_path / "picture.png")
    want = predictor.predict(image)
    from_path = predictor.predict(tmp_path / "picture.png")
    assert_same(from_path, want)
    assert from_path.source == tmp_path / "picture.png"
    assert_same(predictor.predict(str(tmp_path / "picture.png")), want)
    listed = predictor.predict([image, tmp_path / "picture.png"])
    assert isinstance(listed, list)
    for one in listed:
        assert_same(one, want)
    assert predictor.predict([]) == []


def test_kinds_of_arrays(predictor):
    image = picture()
    want = predictor.predict(image)
    alpha = np.full(image.shape[:2] + (1,), 7, np.uint8)
    assert_same(predictor.predict(np.concatenate([image, alpha], 2)), want)
    assert_same(predictor.predict(image.astype("float32")), want)
    assert_same(predictor.predict(image.astype("float64")), want)
    assert_same(predictor.predict(image.astype(np.uint16) * 257), want)
    assert_same(predictor.predict(np.asfortranarray(image)), want)
    gray = image[..., 0]
    want = predictor.predict(np.repeat(gray[..., None], 3, 2))
    assert_same(predictor.predict(gray), want)
    assert_same(predictor.predict(gray[..., None]), want)
    binary = predictor.predict(gray > 127)
    assert_same(binary, predictor.predict((gray > 127).astype(np.uint8) * 255))


def test_float_image_on_the_unit_scale_warns(predictor):
    with pytest.warns(UserWarning, match="Multiply it by 255"):
        predictor.predict(picture().astype("float32") / 255)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_list_gives_what_each_picture_gives_alone(predictor, batch_size):
    pictures = [picture(120, 150), picture(100, 160, 1), picture(90, 112, 2), picture(120, 150, 3)]
    together = Predictor(predictor.model, 0.1, batch_size).predict(pictures)
    for image, found in zip(pictures, together):
        assert_same(found, predictor.predict(image))


def test_score_threshold_filters():
    model = tiny_model()
    everything = Predictor(model, 0.0).predict(picture())
    limit = float(np.median(everything.scores))
    some = Predictor(model, limit).predict(picture())
    assert 0 < len(some) < len(everything)
    assert some.scores.min() >= limit


def test_faster_rcnn_has_no_masks():
    found = Predictor(tiny_model(mask=None), 0.1).predict(picture())
    assert len(found) > 0 and found.masks is None


def test_other_numbers_of_channels():
    import dataclasses

    config = tiny_config()
    five = dataclasses.replace(config.input, channels=5, mean=(120.0,) * 5, std=(60.0,) * 5)
    predictor = Predictor(tiny_model(input=five), 0.1)
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 5), np.uint8)
    assert len(predictor.predict(image)) > 0
    with pytest.raises(ValueError, match="wants 5 channels.*Received: shape"):
        predictor.predict(picture())


BAD_ARRAYS = {
    "rank 1": (np.zeros(10, np.uint8), r"shape \(H, W\) or \(H, W, C\).*Received"),
    "rank 4": (np.zeros((1, 20, 20, 3), np.uint8), "For several pictures pass a list"),
    "no pixels": (np.zeros((0, 20, 3), np.uint8), "empty.*Received"),
    "one pixel": (np.zeros((1, 1, 3), np.uint8), "at least 2 x 2 pixels. Received: 1 x 1"),
    "one row": (np.zeros((1, 2000, 3), np.uint8), "at least 2 x 2 pixels. Received: 1 x 2000"),
    "elongated": (np.zeros((2, 2000, 3), np.uint8), "too elongated: 2 x 2000"),
    "nan": (np.full((20, 20, 3), np.nan, "float32"), "NaN or infinite. Received: 1200"),
    "infinite": (np.full((20, 20, 3), np.inf, "float32"), "NaN or infinite"),
    "normalised": (np.linspace(-2, 2, 1200).reshape(20, 20, 3), "0..255. Received: -2..2"),
    "channels first": (np.zeros((3, 40, 50), np.uint8), "wants 3 channels.*channels first"),
    "text": (np.array([["a", "b"]], dtype=object), "must have shape"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_refused(predictor, name):
    array, message = BAD_ARRAYS[name]
    with pytest.raises(ValueError, match=message):
        predictor.predict(array)


def test_bad_files_are_refused(predictor, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.png"):
        predictor.predict(tmp_path / "missing.png")
    Image.fromarray(picture()).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("not a picture")
    for name in ("half.jpg", "text.png"):
        with pytest.raises(ValueError, match=name):
            predictor.predict(tmp_path / name)


def test_bad_arguments_are_refused(predictor):
    with pytest.raises(ValueError, match="score_threshold.*Received: 1.5"):
        Predictor(predictor.model, score_threshold=1.5)
    with pytest.raises(ValueError, match="batch_size.*Received: 0"):
        Predictor(predictor.model, batch_size=0)
    with pytest.raises(ValueError, match="kmrcnn model"):
        Predictor(keras.Sequential())


def test_explanation_agrees_with_the_detections(predictor):
    image = picture()
    explanation = predictor.explain(image)
    detections = predictor.predict(image)
    assert_same(explanation.detections, detections)
    kept = explanation.status == "kept"
    np.testing.assert_allclose(explanation.boxes[kept], detections.boxes, atol=1e-2)
    np.testing.assert_allclose(explanation.scores[kept], detections.scores, atol=1e-5)
    config = predictor.config
    pairs = len(explanation.proposals) * config.num_classes
    assert explanation.num_below_threshold + len(explanation.boxes) == pairs
    assert set(explanation.status) <= {"kept", "nms", "limit", "score"}
    removed = explanation.status == "nms"
    winners = explanation.suppressed_by[removed]
    assert (winners >= 0).all() and (explanation.suppressed_by[~removed] == -1).all()
    np.testing.assert_array_equal(explanation.classes[winners], explanation.classes[removed])
    assert (explanation.scores[winners] >= explanation.scores[removed]).all()
    assert set(explanation.levels) <= {2, 3, 4, 5, 6}
    assert set(explanation.roi_levels) <= {2, 3, 4, 5}
    assert (explanation.proposals[:, 2:] <= np.array([150, 120]) + 1e-3).all()
    for word in ("proposals", "candidates", "removed by NMS", "detections"):
        assert word in explanation.summary()


def test_explanation_marks_what_the_predictor_dropped():
    model = tiny_model()
    scores = Predictor(model, 0.0).predict(picture()).scores
    limit = float(np.median(scores))
    explanation = Predictor(model, limit).explain(picture())
    assert explanation.count("score") == (scores < limit).sum() > 0
    assert explanation.count("kept") == len(explanation.detections)


def test_model_sees_the_content_only(predictor):
    """A picture on a larger canvas than it needs: what is beyond its content is not looked at."""
    inputs = tiny_inputs(sizes=[(60, 70)], canvas=(96, 96))
    valid = np.asarray(predictor.model.predict_on_batch(inputs)["valid"])
    boxes = np.asarray(predictor.model.predict_on_batch(inputs)["boxes"])[valid]
    assert len(boxes) and boxes[:, 2].max() <= 70 and boxes[:, 3].max() <= 60
