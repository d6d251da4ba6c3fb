"""`kmrcnn train`: from annotations and a configuration to a model."""

import json

import cv2
import numpy as np
import pytest

from kmrcnn.cli.__main__ import main
from kmrcnn.config.loader import dump, load_experiment
from tests.train.scenes import experiment, rectangles

RUN = ("train.epochs=1", "train.steps_per_epoch=1", "train.batch_size=2")


@pytest.fixture
def coco(tmp_path):
    """Four pictures with two classes, as COCO JSON beside them."""
    annotations, images = [], []
    for number, example in enumerate(rectangles(4), start=1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), example.image)
        height, width = example.size
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        )
        for box in example.boxes.tolist():
            x1, y1, x2, y2 = box
            entry = {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            entry |= {"category_id": (7, 3)[len(annotations) % 2]}
            entry |= {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
            annotations.append(entry)
    categories = [{"id": 7, "name": "door"}, {"id": 3, "name": "wall"}]
    file = tmp_path / "annotations.json"
    document = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(document))
    (tmp_path / "tiny.yaml").write_text(dump(experiment()))
    return tmp_path


def arguments(folder, *more):
    fixed = ["train", str(folder / "tiny.yaml"), "--data", str(folder / "annotations.json")]
    settings = [part for setting in RUN for part in ("--set", setting)]
    return [*fixed, "--images", str(folder), "--output", str(folder / "run"), *settings, *more]


@pytest.mark.slow
def test_train_fits_the_model_to_the_datas_classes(coco, capsys):
    assert main(arguments(coco, "--quiet")) == 0
    written = load_experiment(coco / "run" / "config.yaml")
    assert set(written.model.class_names) == {"door", "wall"}
    ids = dict(zip(written.model.class_names, written.model.category_ids))
    assert ids == {"door": 7, "wall": 3}
    assert (written.train.epochs, written.train.batch_size) == (1, 2)
    (row,) = json.loads((coco / "run" / "history.json").read_text())
    assert np.isfinite(row["loss"])
    assert "model.keras" in capsys.readouterr().out

    assert main(arguments(coco, "--quiet")) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more,message",
    [
        (["--set", "train.epoch=1"], "train.epochs"),
        (["--weights", "nowhere.h5"], "nowhere.h5"),
        (["--validation", "nowhere.json"], "nowhere.json"),
    ],
)
def test_mistakes_end_the_command_in_a_line(coco, capsys, more, message):
    assert main(arguments(coco, *more)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (coco / "run").exists()
