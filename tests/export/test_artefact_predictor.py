"""An artefact behind the interface of `Predictor`."""

import json

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.eval.evaluate import evaluate
from kmrcnn.export import ArtefactPredictor, export
from kmrcnn.predictor import Predictor
from tests.export import stand_in
from tests.tiny import CLASS_NAMES, tiny_model

SIZE = (96, 160)


@pytest.fixture(scope="module", autouse=True)
def stand_in_format():
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        yield


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def artefact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("artefact") / "model"
    return export(model, path, format=stand_in.NAME, image_size=SIZE)


def picture(height=90, width=150, seed=0):
    """Fills the canvas as `Predictor` fills its own: 96 x 160."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 6, width // 6, 3)).astype(np.uint8)
    return np.array(Image.fromarray(small).resize((width, height)))


def check_equal(found, wanted):
    assert len(found) == len(wanted) >= 3
    assert found.image_size == wanted.image_size and found.class_names == CLASS_NAMES
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=2e-3)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_array_equal(found.classes, wanted.classes)
    assert (found.masks == wanted.masks).mean() > 0.9999


def test_equal_to_predictor(artefact, model, tmp_path):
    ours, theirs = ArtefactPredictor(artefact, 0.1), Predictor(model, 0.1)
    check_equal(ours.predict(picture()), theirs.predict(picture()))
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    found = ours.predict(path)
    assert found.source == path
    check_equal(found, theirs.predict(str(path)))
    several = ours.predict([picture(), str(path)])
    assert [len(one) for one in several] == [len(found)] * 2


def test_takes_the_pictures_that_predictor_takes(artefact, model):
    ours, theirs = ArtefactPredictor(artefact, 0.1), Predictor(model, 0.1)
    grey = picture()[..., 0]
    for image in (grey, np.dstack([picture(), grey]), picture().astype(np.float64)):
        check_equal(ours.predict(image), theirs.predict(image))
    with pytest.raises(ValueError, match="channels first"):
        ours.predict(picture().transpose(2, 0, 1))
    with pytest.raises(ValueError, match="NaN"):
        ours.predict(picture() * np.nan)
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        ours.predict("nowhere.jpg")


def test_score_threshold(artefact):
    everything = ArtefactPredictor(artefact, 0.0).predict(picture())
    limit = float(np.median(everything.scores))
    found = ArtefactPredictor(artefact, limit).predict(picture())
    assert 0 < len(found) == (everything.scores >= limit).sum() < len(everything)
    with pytest.raises(ValueError, match="`score_threshold`"):
        ArtefactPredictor(artefact, 1.5)


def test_a_portrait_is_shrunk_onto_the_canvas(artefact):
    found = ArtefactPredictor(artefact, 0.0).predict(picture(300, 60))
    assert found.image_size == (300, 60)
    assert (found.boxes[:, 2:] <= [60, 300]).all()


def test_any_number_of_pictures_for_a_fixed_batch(model, tmp_path):
    path = export(model, tmp_path / "pairs", format=stand_in.NAME, image_size=SIZE, batch_size=2)
    predictor = ArtefactPredictor(path)
    canvases = [predictor.to_canvas(picture(seed=seed)) for seed in range(3)]
    images, sizes = (np.stack(values) for values in zip(*canvases))
    together = predictor.run(images, sizes)
    assert together["masks"].shape[0] == 3
    for i in range(3):
        alone = predictor.run(images[i : i + 1], sizes[i : i + 1])
        for name, value in alone.items():
            np.testing.assert_allclose(value[0], together[name][i], atol=1e-3)


def test_evaluate_takes_it(artefact, model):
    scenes = SyntheticScenes(2, (96, 128), seed=0, classes=CLASS_NAMES)
    result = evaluate(ArtefactPredictor(artefact, 0.0), scenes, progress=False)
    wanted = evaluate(model, scenes, progress=False)
    assert result.num_images == 2
    assert result.num_detections == wanted.num_detections > 0
    assert set(result.metrics) == set(wanted.metrics)


def test_what_is_no_artefact_is_named(artefact, tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported model"):
        ArtefactPredictor(tmp_path)
    content = json.loads((artefact / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps(content | {"format": "coreml"}))
    with pytest.raises(ValueError, match="unknown format. Received: 'coreml'"):
        ArtefactPredictor(tmp_path)
