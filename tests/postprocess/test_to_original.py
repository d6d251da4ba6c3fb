import numpy as np
import pytest

from kmrcnn.config.schema import KeypointConfig, MaskConfig
from kmrcnn.postprocess.to_original import frame_scale, to_original_frame


def outputs(boxes, scores=None, valid=None, side=28):
    number = len(boxes)
    return {
        "boxes": np.asarray(boxes, "float32").reshape(-1, 4),
        "scores": np.asarray(
            scores if scores is not None else np.linspace(0.9, 0.5, number), "float32"
        ),
        "classes": np.arange(number, dtype="int32"),
        "valid": np.ones(number, bool) if valid is None else np.asarray(valid),
        "masks": np.ones((number, side, side), "float32"),
    }


def test_frame_scale_has_a_factor_per_axis():
    np.testing.assert_allclose(frame_scale((100, 50), (200, 150)), [3, 2, 3, 2])
    assert frame_scale((3, 7), (10, 10)).dtype == np.float32


def test_boxes_are_scaled_per_axis_and_clipped():
    found = to_original_frame(
        outputs([[10, 20, 30, 40], [-5, 50, 60, 120]]), (100, 50), (200, 150), MaskConfig()
    )
    np.testing.assert_allclose(found["boxes"], [[30, 40, 90, 80], [0, 100, 150, 200]])
    np.testing.assert_array_equal(found["classes"], [0, 1])
    assert found["masks"].shape == (2, 200, 150)
    assert found["masks"][0, 40:80, 30:90].all()
    assert found["masks"][0].sum() == 40 * 60


def test_empty_unused_and_low_scoring_boxes_go():
    boxes = [[0, 0, 9, 9], [5, 5, 5, 9], [1, 1, 8, 8], [20, 20, 30, 30], [2, 2, 6, 6], [3, 3, 7, 7]]
    found = to_original_frame(
        outputs(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [True, True, False, True, True, True]),
        (10, 10),
        (10, 10),
        MaskConfig(),
        score_threshold=0.5,
    )
    np.testing.assert_array_equal(found["classes"], [0, 4])  # the fourth lies outside the picture
    np.testing.assert_allclose(found["scores"], [0.9, 0.5])
    assert len(found["masks"]) == 2


@pytest.mark.parametrize("rule", ["grid_sample", "integer_box"])
def test_masks_follow_rule_and_threshold(rule):
    from kmrcnn.postprocess.paste_masks import paste_masks

    config = MaskConfig(paste=rule, threshold=0.25)
    values = outputs([[2, 3, 20, 25]])
    values["masks"] = np.random.default_rng(0).random((1, 28, 28)).astype("float32")
    found = to_original_frame(values, (30, 30), (30, 30), config)
    want = paste_masks(values["masks"], values["boxes"], (30, 30), rule, 0.25)
    np.testing.assert_array_equal(found["masks"], want)


def test_without_masks():
    values = outputs([[0, 0, 9, 9]])
    del values["masks"]
    found = to_original_frame(values, (10, 10), (20, 20))
    assert found["masks"] is None
    np.testing.assert_allclose(found["boxes"], [[0, 0, 18, 18]])


def test_no_detections():
    found = to_original_frame(outputs([]), (10, 10), (20, 30), MaskConfig())
    assert found["boxes"].shape == (0, 4)
    assert found["masks"].shape == (0, 20, 30)
    nothing_valid = outputs([[0, 0, 5, 5]], valid=[False])
    assert len(to_original_frame(nothing_valid, (10, 10), (20, 30), MaskConfig())["scores"]) == 0


def test_inputs_are_not_changed():
    values = outputs([[0, 0, 9, 90]])
    before = {name: value.copy() for name, value in values.items()}
    to_original_frame(values, (10, 10), (20, 20), MaskConfig())
    for name in before:
        np.testing.assert_array_equal(values[name], before[name])


def test_keypoints_are_scaled_per_axis():
    values = outputs([[0, 0, 9, 9], [1, 1, 8, 8]], [0.9, 0.1])
    del values["masks"]
    values["keypoints"] = np.float32([[[2, 3, 0.7]], [[4, 5, 0.2]]])
    found = to_original_frame(values, (10, 10), (20, 30), score_threshold=0.5)
    np.testing.assert_allclose(found["keypoints"], [[[6, 6, 0.7]]])
    assert to_original_frame(outputs([]), (9, 9), (9, 9), MaskConfig())["keypoints"] is None


def test_heatmaps_are_read_in_the_network_frame():
    """An original pixel is a quarter of the network's: points lie on the network's pixels."""
    values = outputs([[0, 0, 80, 80]])
    del values["masks"]
    maps = np.zeros((1, 28, 28, 1), np.float32)
    maps[0, 7, 21] = 9.0
    values |= {"keypoint_heatmaps": maps, "keypoints": np.zeros((1, 1, 3), np.float32)}
    config = KeypointConfig(num_keypoints=1, score="logit")
    found = to_original_frame(values, (100, 100), (400, 400), keypoint_config=config)
    x, y, score = found["keypoints"][0, 0]
    assert x % 4 == y % 4 == 2  # centres
    assert abs(x - 320 * 21.5 / 28) <= 4 and abs(y - 320 * 7.5 / 28) <= 4 and 4 < score < 9
