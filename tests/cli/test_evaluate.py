"""`kmrcnn evaluate` on COCO, VOC and LVIS rules, with result files and with a stand-in model."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kmrcnn.cli.__main__ import main
from tests.eval.coco_case import SIZE, coco, results
from tests.eval.oracle import Oracle

BOX = (10, 10, 40, 40)


@pytest.fixture
def folder(tmp_path):
    """Two pictures with a bright rectangle each, and their COCO file."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[10:40, 10:40] = 255
    truth = coco((1, 1, BOX), (2, 1, BOX), images=(1, 2))
    (tmp_path / "images").mkdir()
    for entry in truth["images"]:
        entry["file_name"] = f"{entry['id']}.png"
        Image.fromarray(image).save(tmp_path / "images" / entry["file_name"])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return tmp_path


@pytest.fixture
def model(monkeypatch):
    """Stands in for the zoo and the predictor; gives what was asked for."""
    asked = []

    def load_model(preset, weights=None):
        asked.append((preset, weights))

    def predictor(model, score_threshold, batch_size):
        asked.append((score_threshold, batch_size))
        return Oracle(batch_size=batch_size)

    zoo = SimpleNamespace(load_model=load_model)
    monkeypatch.setitem(sys.modules, "kmrcnn.models.zoo", zoo)
    monkeypatch.setitem(sys.modules, "kmrcnn.predictor", SimpleNamespace(Predictor=predictor))
    return asked


def evaluate(*argv) -> int:
    return main(["evaluate", *map(str, argv)])


def evaluate_file(folder, found, *argv) -> int:
    (folder / "found.json").write_text(json.dumps(found))
    annotations = ("--annotations", folder / "truth.json")
    return evaluate("--detections", folder / "found.json", *annotations, *argv)


def test_model_is_scored_and_files_are_written(folder, model, capsys):
    pytest.importorskip("matplotlib")
    out = folder / "out"
    assert (
        evaluate(
            *("mine.keras", "--annotations", folder / "truth.json", "--images", folder / "images"),
            *("--json", out / "found.json", "--plots", out, "--batch-size", 2),
        )
        == 0
    )
    assert model == [("mine.keras", None), (0.0, 2)]
    text = capsys.readouterr().out
    assert "2 images, 2 objects, 2 detections" in text
    assert [line.split()[:2] for line in text.split("\n") if line.startswith(("box", "mask"))] == [
        ["box", "100.0"],
        ["mask", "100.0"],
    ]
    found = json.loads((out / "found.json").read_text())
    assert [one["image_id"] for one in found] == [1, 2] and found[0]["bbox"] == [10, 10, 30, 30]
    assert (out / "precision_recall_mask.png").exists() and (out / "confusion_box.png").exists()


def test_written_detections_give_the_same_figures(folder, model, capsys):
    truth = ("--annotations", folder / "truth.json")
    evaluate("m.keras", *truth, "--images", folder / "images", "--json", folder / "found.json")
    first = capsys.readouterr().out.split("\n\n")[1]
    evaluate("--detections", folder / "found.json", *truth)
    assert capsys.readouterr().out.split("\n\n")[1] == first


def test_limit_and_kinds(folder, model, capsys):
    paths = ("--annotations", folder / "truth.json", "--images", folder / "images")
    assert evaluate("m.keras", *paths, "--limit", 1, "--kinds", "bbox") == 0
    text = capsys.readouterr().out
    assert "1 images, 1 objects" in text and "mask" not in text


def test_a_result_file_needs_no_pictures(folder, capsys):
    for path in (folder / "images").iterdir():
        path.unlink()
    assert evaluate_file(folder, results((1, 1, BOX, 0.9)), "--limit", 1) == 0
    assert "1 images, 1 objects, 1 detections" in capsys.readouterr().out


def test_results_beyond_the_limit_are_left_out(folder, capsys):
    assert evaluate_file(folder, results((1, 1, BOX, 0.9), (2, 1, BOX, 0.9)), "--limit", 1) == 0
    assert "1 images, 1 objects, 1 detections" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
def test_objects_a_loader_would_skip_still_count(folder, capsys, engine):
    """A box without area cannot be found; COCO's own figures count it as missed."""
    truth = json.loads((folder / "truth.json").read_text())
    flat = {"id": 9, "bbox": [5, 5, 0, 9], "area": 0.0, "segmentation": [[5, 5, 5, 9, 5, 14]]}
    truth["annotations"].append({**truth["annotations"][0], **flat})
    (folder / "truth.json").write_text(json.dumps(truth))
    found = results((1, 1, BOX, 0.9), (2, 1, BOX, 0.9))
    assert evaluate_file(folder, found, "--kinds", "bbox", "--engine", engine) == 0
    box_ap = 100 * 67 / 101  # the recalls 0, 0.01, ... 0.66 of 2/3
    line = next(line for line in capsys.readouterr().out.split("\n") if line.startswith("box"))
    assert line.split()[1] == f"{box_ap:.1f}"


def test_no_detections_at_all(folder, capsys):
    assert evaluate_file(folder, []) == 0
    assert "2 objects, 0 detections" in capsys.readouterr().out


def test_voc_rules(folder, capsys):
    assert evaluate_file(folder, results((1, 1, BOX, 0.9)), "--rules", "voc") == 0
    box_line = capsys.readouterr().out.split("rules of voc:")[1].split("\n")[2]
    assert box_line.split() == ["box", "50.0", f"{100 * 6 / 11:.1f}"]


def test_lvis_rules(folder, capsys):
    truth = json.loads((folder / "truth.json").read_text())
    for image in truth["images"]:
        image["neg_category_ids"] = image["not_exhaustive_category_ids"] = []
    (folder / "truth.json").write_text(json.dumps(truth))
    found = results((1, 1, BOX, 0.9), (2, 1, BOX, 0.9), (1, 2, BOX, 0.9))
    assert evaluate_file(folder, found, "--rules", "lvis", "--kinds", "segm") == 0
    assert capsys.readouterr().out.split("rules of lvis:")[1].split()[-10] == "100.0"


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "either MODEL or --detections"),
        (["m.keras", "--detections", "found.json"], "either MODEL or --detections"),
        (["m.keras", "--limit", "0"], "--limit"),
        (["--detections", "none.json"], "none.json"),
        (["--detections", "truth.json"], "list of COCO results"),
    ],
)
def test_wrong_options_exit_with_2(folder, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(folder)
    assert evaluate(*argv, "--annotations", "truth.json") == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_unknown_kinds_are_refused_at_once(folder, capsys):
    with pytest.raises(SystemExit):
        evaluate("m.keras", "--annotations", folder / "truth.json", "--kinds", "masks")
    assert "bbox,segm,keypoints" in capsys.readouterr().err


def test_plots_ask_for_matplotlib_before_the_work(folder, model, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    paths = ("--annotations", folder / "truth.json", "--images", folder / "images")
    assert evaluate("m.keras", *paths, "--plots", folder / "plots") == 2
    assert "pip install matplotlib" in capsys.readouterr().err and model == []
