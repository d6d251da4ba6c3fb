"""The bundled model on a real photograph it has never seen, and the README's snippets."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kmrcnn
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from tests.conftest import ROOT
from tests.matching import match_masks

skimage = pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    labels = np.load(ROOT / "tests" / "golden" / "coins_reference.npz")["labels"]
    return np.stack([labels == i for i in range(1, labels.max() + 1)])


def test_bundled_model_outlines_the_coins(reference):
    predictor = kmrcnn.Predictor(kmrcnn.load_model("mask_rcnn_r18_coins", weights="bundled"))
    detections = predictor.predict(skimage.data.coins())
    matched, false_alarms = match_masks(detections.masks, reference, iou=0.75)
    assert matched >= 20
    assert false_alarms <= 3


def test_first_command_of_the_readme(tmp_path, reference):
    photograph = Path(skimage.__file__).parent / "data" / "coins.png"
    command = [
        sys.executable,
        "-m",
        "kmrcnn",
        "predict",
        str(photograph),
        "--output",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "overlay" / "coins.png").stat().st_size > 10_000
    results = [json.loads(p.read_text()) for p in tmp_path.rglob("*.json")]
    assert any(isinstance(r, list) and len(r) >= 20 for r in results)


def test_python_snippet_of_the_readme(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(<!-- needs a (?:download|file) -->\n)?```python\n(.*?)```", text, re.S)
    offline = [code for skip, code in blocks if not skip]
    assert offline
    for code in offline:
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert "Detections(24: coin 24" in capsys.readouterr().out


def test_bundled_model_on_unseen_scenes():
    """Figures of the README: recall and precision at mask IoU 0.5, right class, 60 new scenes."""
    model = kmrcnn.load_model("mask_rcnn_r18_coins", weights="bundled")
    predictor = kmrcnn.Predictor(model)
    found = wanted = matched = 0
    for example in SyntheticScenes(60, seed=999, classes=model.config.class_names):
        detections, masks = predictor.predict(example.image), example.full_masks()
        for number in range(model.config.num_classes):
            ours, theirs = detections.classes == number, example.classes == number
            hits, _ = match_masks(detections.masks[ours], masks[theirs], iou=0.5)
            matched, found, wanted = matched + hits, found + ours.sum(), wanted + theirs.sum()
    print(f"recall {matched / wanted:.3f}, precision {matched / found:.3f}, {wanted} objects")
    assert matched / wanted >= 0.85
    assert matched / found >= 0.88
