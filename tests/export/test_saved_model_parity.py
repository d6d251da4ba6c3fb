"""From the bytes of a file to what torchvision found on the picture.

How artefacts compare with the Keras models is in test_real_models.py.
"""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.export import export
from kmrcnn.models.build import build_model
from kmrcnn.postprocess.paste_masks import paste_masks
from kmrcnn.weights.assign import load_tensors
from kmrcnn.weights.sources import SOURCES
from tests.export.pictures import encoded
from tests.reference_cases import Case


@pytest.mark.slow
@pytest.mark.realdata
def test_maskrcnn_resnet50_fpn_equals_torchvision(cases_dir, tmp_path):
    case = Case(cases_dir, "tv_full_maskrcnn_resnet50_fpn")
    model = build_model(case.config)
    load_tensors(model, case.tensors, SOURCES["torchvision"])
    loaded = tf.saved_model.load(str(export(model, tmp_path / "model") / "1"))
    found = loaded.signatures["serve_bytes"](image_bytes=[encoded(case.images[0])])
    found = {name: value[0].numpy() for name, value in found.items()}

    boxes, classes = case.output(0, "boxes"), case.output(0, "labels") - 1
    assert found["num_detections"] == len(boxes) == 100
    distance = np.abs(found["boxes"][None] - boxes[:, None]).max(axis=-1)
    distance[found["classes"][None] != classes[:, None]] = np.inf
    order = distance.argmin(axis=1)
    scores = np.abs(found["scores"][order] - case.output(0, "scores"))
    want = case.output(0, "masks")[:, 0]
    first = order[: len(want)]
    rule = case.config.mask.paste
    masks = paste_masks(found["masks"][first], found["boxes"][first], want.shape[1:], rule)
    equal = (masks == want).mean()
    print(f"\nboxes {distance.min(axis=1).max():.1e} px, scores {scores.max():.1e}, masks {equal}")
    assert sorted(order) == list(range(100))
    assert distance.min(axis=1).max() < 0.05 and scores.max() < 1e-4
    assert want.any() and equal >= 0.999
