import sys

import numpy as np
import pytest
from PIL import Image

from kmrcnn.eval.coco_evaluator import CocoEvaluator
from kmrcnn.eval.plots import plot_confusion, plot_learning_curve, write_plots
from tests.eval.coco_case import coco, results

LEFT, RIGHT = (0, 0, 20, 20), (40, 0, 60, 20)
FILES = {"precision_recall_box", "confusion_box", "precision_recall_mask", "confusion_mask"}


def evaluator(truth, found) -> CocoEvaluator:
    scored = CocoEvaluator(truth)
    scored.add_results(found)
    return scored


@pytest.mark.parametrize("objects", [[(1, 1, LEFT), (1, 2, RIGHT)], []], ids=["objects", "empty"])
def test_every_kind_has_its_pictures(tmp_path, objects):
    pytest.importorskip("matplotlib")
    paths = write_plots(evaluator(coco(*objects), results((1, 1, LEFT, 0.9))), tmp_path / "plots")
    assert {path.stem for path in paths} == FILES
    for path in paths:
        assert np.asarray(Image.open(path).convert("L")).std() > 1  # something is drawn


def test_the_matrix_must_fit_the_names(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"\(K \+ 1, K \+ 1\)"):
        plot_confusion(np.zeros((2, 2)), ["cat", "dog"], tmp_path / "matrix.png")


def test_many_classes_fit(tmp_path):
    pytest.importorskip("matplotlib")
    names = [f"class {number}" for number in range(80)]
    path = plot_confusion(np.eye(81, dtype=int), names, tmp_path / "matrix.png")
    assert Image.open(path).size[0] > 2000  # pixels


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plot_confusion(np.zeros((1, 1)), [], tmp_path / "matrix.png")


def test_learning_curve(tmp_path):
    pytest.importorskip("matplotlib")
    history = [{"epoch": i, "loss": 1 / i, "val_loss": 1.2 / i} for i in (1, 2, 3)]
    plain = plot_learning_curve(history, tmp_path / "plain.png")
    history[2]["val_mask_ap"] = 0.4
    scored = plot_learning_curve(history, tmp_path / "scored.png")
    right = [np.asarray(Image.open(path).convert("L"))[:, 700:] for path in (plain, scored)]
    assert (right[0] != right[1]).any()  # the AP appears
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_learning_curve([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
