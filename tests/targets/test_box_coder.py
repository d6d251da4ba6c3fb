"""Box coder against torchvision and Detectron2."""

import json

import numpy as np
import pytest

from kmrcnn.targets.box_coder import MAX_LOG_SCALE, decode, encode

ONES = (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("weights", ["rpn", "box", "cas2", "cas3"])
@pytest.mark.parametrize("system", ["", "d2_"])
def test_values_equal_the_references(cases_dir, system, weights):
    arrays = np.load(cases_dir / "box_coder.npz")
    factors = json.loads((cases_dir / "box_coder.json").read_text())["weights"][weights]
    deltas = encode(arrays["gt"], arrays["anchors"], factors)
    np.testing.assert_allclose(deltas, arrays[f"{system}enc_{weights}"], rtol=1e-5, atol=1e-5)
    boxes = decode(arrays["deltas"].reshape(50, 3, 4), arrays["anchors"][:, None], factors)
    want = arrays[f"{system}dec_{weights}"].reshape(50, 3, 4)
    np.testing.assert_allclose(boxes, want, rtol=1e-5, atol=1e-4)


def test_hand_checked():
    deltas = encode([[10.0, 20, 30, 80]], [[0.0, 0, 40, 40]], (10.0, 10.0, 5.0, 5.0))
    want = [[0, 10 * 30 / 40, 5 * np.log(20 / 40), 5 * np.log(60 / 40)]]
    np.testing.assert_allclose(deltas, want, rtol=1e-6)


def test_decode_inverts_encode():
    draw = np.random.default_rng(0)
    corners, references = draw.uniform(0, 400, (2, 2, 30, 2))
    boxes, references = (
        np.concatenate([c, c + draw.uniform(20, 90, c.shape)], -1) for c in (corners, references)
    )
    deltas = encode(boxes, references, (10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(decode(deltas, references, (10.0, 10.0, 5.0, 5.0)), boxes, atol=1e-3)


def test_growth_is_limited():
    box = np.asarray(decode([[0.0, 0, 90, 90]], [[0.0, 0, 16, 16]], ONES))
    np.testing.assert_allclose(box[0, 2:] - box[0, :2], 16 * np.exp(MAX_LOG_SCALE), rtol=1e-5)
