"""`kmrcnn convert` on files in the format of Matterport's Mask R-CNN."""

import json

import numpy as np
import pytest

from kmrcnn.cli.__main__ import main
from kmrcnn.models.zoo import load_model
from kmrcnn.predictor import Predictor
from tests.weights.matterport_file import random_layers, write_file

NAMES = ("balloon", "kite", "bird")
SETTINGS = {
    "NAME": "balloon",
    "NUM_CLASSES": 4,  # with the background, as there
    "IMAGE_MIN_DIM": 128,
    "IMAGE_MAX_DIM": 192,
    "DETECTION_MIN_CONFIDENCE": 0.2,
    "DETECTION_MAX_INSTANCES": 7,
}


@pytest.fixture
def source(tmp_path):
    return write_file(tmp_path / "mask_rcnn_balloon_0030.h5", random_layers(4, seed=3))


def convert(source, name="model.keras", *argv):
    target = source.parent / name
    argv = ("convert", source, target, "--model", "matterport_coco", *argv)
    return main([*map(str, argv)]), target


def test_classes_and_settings_of_the_user_are_honoured(source, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    options = ("--matterport-config", tmp_path / "config.json", "--class-names", *NAMES)
    code, target = convert(source, "model.keras", *options)
    assert code == 0
    model = load_model(target)
    config = model.config
    assert (config.num_classes, config.class_names) == (3, NAMES)
    assert (config.input.short_side, config.input.long_side) == (128, 192)
    assert (config.box.score_threshold, config.box.max_detections) == (0.2, 7)
    picture = np.random.default_rng(0).integers(0, 255, (90, 140, 3)).astype(np.uint8)
    found = Predictor(model).predict(picture)
    assert len(found) <= 7 and set(found.names) <= set(NAMES)


def test_without_a_configuration_the_file_says_how_many_classes(source):
    code, target = convert(source)
    assert code == 0 and load_model(target).config.num_classes == 3


def test_another_number_of_classes_is_a_contradiction(source, capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"NUM_CLASSES": 9}))
    code, target = convert(source, "model.keras", "--matterport-config", tmp_path / "config.json")
    assert code == 2 and not target.exists()
    message = "4 classes with the background, the configuration NUM_CLASSES = 9"
    assert message in capsys.readouterr().err
