"""The SavedModel: what is in it, and that its numbers are the Keras model's."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

import kmrcnn
from kmrcnn.config.schema import BoxConfig, InputConfig, KeypointConfig, PoolerConfig
from kmrcnn.custom_ops import library
from kmrcnn.data.images import decode_image
from kmrcnn.data.preprocess import pad_to_canvas, to_network
from kmrcnn.export import ArtefactPredictor, export
from kmrcnn.export.saved_model import LIBRARY
from kmrcnn.postprocess.to_original import to_original_frame
from tests.export.pictures import BAD_FILES, COINS, encoded
from tests.tiny import tiny_inputs, tiny_model

DETECTRON2 = {
    "input": InputConfig(
        channel_order="bgr",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        short_side=96,
        long_side=160,
        resize="antialiased_uint8",
        size_rounding="half_up",
    ),
    "pooler": PoolerConfig(sampling_ratio=0),
}
TORCHVISION = {
    "pooler": PoolerConfig(sampling_ratio=2, aligned=False),
    "box": BoxConfig(
        fc_channels=32, max_detections=12, class_agnostic=True, score_threshold=0.1, min_size=0.01
    ),
    "mask": None,
    "keypoint": KeypointConfig(num_keypoints=3, num_convs=1, channels=16),
}


@pytest.fixture(scope="module")
def signatures(coins_saved_model):
    loaded = tf.saved_model.load(str(coins_saved_model / "3"))
    yield loaded.signatures


def assert_row_equals(outputs, row, want, box_tolerance=1e-3):
    """One picture of a batch against `Detections` of all scores."""
    number = int(outputs["num_detections"][row])
    assert number == len(want.boxes) > 0
    np.testing.assert_allclose(outputs["boxes"][row, :number], want.boxes, atol=box_tolerance)
    np.testing.assert_allclose(outputs["scores"][row, :number], want.scores, atol=1e-4)
    np.testing.assert_array_equal(outputs["classes"][row, :number], want.classes)
    for name, value in outputs.items():
        assert name == "num_detections" or not np.any(value[row, number:])


def test_folder_has_what_serving_looks_for(coins_saved_model):
    coins = coins_saved_model
    for file in ("saved_model.pb", "variables/variables.index", "assets.extra/metadata.json"):
        assert (coins / "3" / file).is_file()
    about = json.loads((coins / "metadata.json").read_text())
    assert about["version"] == 3 and about["warmup"] is True and about["custom_op"] is False
    assert about["classes"][0] == "coin" and about["image_size"] is None
    extra = json.loads((coins / "3" / "assets.extra" / "metadata.json").read_text())
    assert extra["weights_sha256"] == about["weights_sha256"]


def test_each_weight_is_stored_once(coins_saved_model, coins_model):
    coins = coins_saved_model
    files = (coins / "3" / "variables").glob("variables.data*")
    stored = sum(file.stat().st_size for file in files)
    weights = sum(4 * int(np.prod(weight.shape)) for weight in coins_model.weights)
    assert weights <= stored < 1.01 * weights + 10000
    assert (coins / "3" / "saved_model.pb").stat().st_size < 5e6  # no weights in the graph


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_pictures_of_any_number(signatures, coins_model, batch):
    pictures = np.stack([np.roll(COINS, 20 * n, axis=1) for n in range(batch)])
    outputs = signatures["serving_default"](images=tf.constant(pictures))
    assert outputs["masks"].shape == (batch, 100, 28, 28)
    for row, want in enumerate(kmrcnn.Predictor(coins_model, 0.0).predict(list(pictures))):
        assert_row_equals(outputs, row, want)


@pytest.mark.parametrize("size", [(303, 384), (64, 64), (100, 480), (700, 350)])
def test_pictures_of_any_size(signatures, coins_model, size):
    picture = np.asarray(Image.fromarray(COINS).resize(size[::-1]))
    outputs = signatures["serving_default"](images=tf.constant(picture[None]))
    want = kmrcnn.Predictor(coins_model, 0.0).predict(picture)
    assert_row_equals(outputs, 0, want)


def test_picture_without_detections(signatures):
    outputs = signatures["serving_default"](images=tf.zeros((2, 90, 120, 3), tf.uint8))
    assert outputs["num_detections"].numpy().tolist() == [0, 0]
    assert all(not np.any(value) for value in outputs.values())


def test_files_of_different_sizes_in_one_batch(signatures, coins_model):
    """Each on a canvas of the same size here, so that the numbers are those of one alone."""
    pictures = [COINS, COINS[:, :380], np.rot90(COINS, 2)[:300]]
    files = [encoded(pictures[0]), encoded(pictures[1], "JPEG"), encoded(pictures[2], "JPEG")]
    outputs = signatures["serve_bytes"](image_bytes=tf.constant(files))
    predictor = kmrcnn.Predictor(coins_model, 0.0)
    for row, data in enumerate(files):
        assert_row_equals(outputs, row, predictor.predict(decode_image(data)))


def test_files_of_very_different_sizes_share_a_canvas(signatures, coins_model):
    """What a picture gives depends a little on its canvas, so the model gets the same one."""
    pictures = [COINS, np.ascontiguousarray(COINS.transpose(1, 0, 2)), COINS[:150, :150]]
    outputs = signatures["serve_bytes"](image_bytes=[encoded(picture) for picture in pictures])
    config = coins_model.config.input
    images, sizes = pad_to_canvas([to_network(picture, config) for picture in pictures], 32)
    raw = coins_model.predict_on_batch({"images": images, "image_sizes": sizes})
    for row, picture in enumerate(pictures):
        one = {name: value[row] for name, value in raw.items() if name != "masks"}
        want = to_original_frame(one, sizes[row], picture.shape[:2])
        assert_row_equals(outputs, row, SimpleNamespace(**want))


def test_a_photograph_held_sideways_is_turned(signatures, coins_model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "sideways.jpg"
    Image.fromarray(np.ascontiguousarray(np.rot90(COINS))).save(path, exif=exif, quality=95)
    want = kmrcnn.Predictor(coins_model, 0.0).predict(path)
    assert want.image_size == COINS.shape[:2]
    outputs = signatures["serve_bytes"](image_bytes=tf.constant([path.read_bytes()]))
    assert_row_equals(outputs, 0, want)


def test_network_frame_signature_is_the_keras_model(coins_saved_model, coins_model):
    inputs = tiny_inputs(sizes=((256, 320), (200, 224), (0, 0)), canvas=(256, 320))
    inputs["images"][0] = COINS[:256, :320]
    want = coins_model.predict_on_batch(inputs)
    got = ArtefactPredictor(coins_saved_model).run(inputs["images"], inputs["image_sizes"])
    number = np.asarray(want["valid"]).sum(1)
    assert number[0] > 0 and got["num_detections"].tolist() == number.tolist()
    for name, tolerance in {"boxes": 1e-3, "scores": 1e-5, "classes": 0, "masks": 1e-4}.items():
        np.testing.assert_allclose(got[name], want[name], rtol=0, atol=tolerance, err_msg=name)


def test_artefact_predictor_equals_predictor(coins_saved_model, coins_model):
    want = kmrcnn.Predictor(coins_model).predict(COINS)
    got = ArtefactPredictor(coins_saved_model).predict(COINS)
    assert len(got) == len(want) > 20
    np.testing.assert_allclose(got.boxes, want.boxes, atol=1e-3)
    assert (got.masks == want.masks).mean() > 0.99999


@pytest.fixture(
    scope="module",
    params=[DETECTRON2, TORCHVISION],
    ids=["detectron2 masks", "torchvision keypoints"],
)
def convention(request, tmp_path_factory):
    """A model and its signatures."""
    model = tiny_model(**request.param)
    folder = export(model, tmp_path_factory.mktemp("export") / "model")
    loaded = tf.saved_model.load(str(folder / "1"))
    yield model, loaded.signatures


def test_every_convention(convention):
    model, signatures = convention
    picture = skimage.data.astronaut()[100:300, 50:310]
    want = kmrcnn.Predictor(model, 0.0).predict(picture)
    assert_row_equals(signatures["serving_default"](images=tf.constant(picture[None])), 0, want)
    data = tf.constant([encoded(picture)] * 2)
    assert_row_equals(signatures["serve_bytes"](image_bytes=data), 1, want)
    has_masks = "masks" in signatures["serve_float"].structured_outputs
    assert has_masks == (model.config.mask is not None)


def test_keypoints_are_on_the_picture(convention):
    model, signatures = convention
    if model.config.keypoint is None:
        pytest.skip("has none")
    picture = skimage.data.astronaut()[100:300, 50:310]
    want = kmrcnn.Predictor(model, 0.0).predict(picture).keypoints
    outputs = signatures["serving_default"](images=tf.constant(picture[None]))
    assert "keypoint_heatmaps" not in outputs
    got = outputs["keypoints"][0, : len(want)].numpy()
    distance = np.abs(got - want).max(axis=-1)
    assert (distance < 1e-2).mean() > 0.9  # two equal peaks of a heatmap may change places


@pytest.mark.realdata
def test_photographs_as_the_predictor_sees_them(convention, data_dir):
    model, signatures = convention
    predictor = kmrcnn.Predictor(model, 0.0)
    for path in sorted((data_dir / "photos").glob("*.jpg"))[:5]:
        outputs = signatures["serve_bytes"](image_bytes=tf.constant([path.read_bytes()]))
        assert_row_equals(outputs, 0, predictor.predict(path), box_tolerance=0.01)


@pytest.mark.slow
def test_other_channels_have_no_bytes_signature(tmp_path):
    channels, statistics = 4, (100.0,) * 4
    model = tiny_model(
        input=InputConfig(
            channels=channels, mean=statistics, std=statistics, short_side=96, long_side=160
        ),
        mask=None,
    )
    export(model, tmp_path / "model")
    about = json.loads((tmp_path / "model" / "metadata.json").read_text())
    assert "three channels only" in about["inputs"]["serve_bytes"]
    loaded = tf.saved_model.load(str(tmp_path / "model" / "1"))
    assert set(loaded.signatures) == {"serving_default", "serve_float"}
    picture = np.random.default_rng(0).integers(0, 256, (90, 130, channels), np.uint8)
    want = kmrcnn.Predictor(model, 0.0).predict(picture)
    assert_row_equals(loaded.signatures["serving_default"](images=picture[None]), 0, want)


@pytest.fixture(scope="module")
def pasting(tmp_path_factory):
    """A model exported with other thresholds and pasted masks, and its signatures."""
    model = tiny_model()
    options = {"score_threshold": 0.2, "max_detections": 3, "paste_masks": True}
    folder = export(model, tmp_path_factory.mktemp("export") / "model", **options)
    loaded = tf.saved_model.load(str(folder / "1"))
    yield model, loaded.signatures


def test_pasted_masks_and_options_of_detection(pasting):
    model, signatures = pasting
    picture = skimage.data.astronaut()[100:300, 50:310]
    want = kmrcnn.Predictor(model, 0.2).predict(picture)
    assert len(want) > 3 and want.masks[:3].any()
    found = signatures["serving_default"](images=picture[None])
    assert int(found["num_detections"][0]) == 3
    np.testing.assert_allclose(found["boxes"][0], want.boxes[:3], atol=1e-3)
    assert found["masks"].dtype == tf.uint8
    assert found["masks"].shape == (1, 3, *picture.shape[:2])
    assert (found["masks"][0].numpy().astype(bool) == want.masks[:3]).mean() > 0.9999


def test_pasted_masks_of_files_of_different_sizes(pasting):
    _, signatures = pasting
    pictures = [COINS, COINS[:200, :300]]
    found = signatures["serve_bytes"](image_bytes=[encoded(picture) for picture in pictures])
    assert found["masks"].shape == (2, 3, *COINS.shape[:2])
    assert np.any(found["masks"][1]) and not np.any(found["masks"][1, :, 200:, 300:])


def test_malformed_requests_are_invalid_arguments(signatures):
    good = encoded(COINS, "JPEG")
    for data in BAD_FILES.values():
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures["serve_bytes"](image_bytes=tf.constant([good, data]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no pictures"):
        signatures["serve_bytes"](image_bytes=tf.constant([], tf.string))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 2"):
        signatures["serving_default"](images=tf.zeros((1, 1, 50, 3), tf.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no pictures"):
        signatures["serving_default"](images=tf.zeros((0, 60, 50, 3), tf.uint8))


@pytest.mark.parametrize(
    "options, message",
    [({"batch_size": 2}, "batch_size"), ({"image_size": (64, 64)}, "image_size")],
)
def test_options_it_does_not_have(coins_model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(coins_model, tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_masks_of_a_model_without_any(tmp_path):
    with pytest.raises(ValueError, match="`paste_masks` needs a model with masks"):
        export(tiny_model(mask=None), tmp_path / "model", paste_masks=True)


USES_THE_LIBRARY = """
import sys
import numpy as np
import tensorflow as tf
folder, library, pictures = sys.argv[1:]
try:
    tf.saved_model.load(folder)
except Exception as error:
    print("without:", "KmrcnnRoiAlign" in str(error))
tf.load_op_library(library)
found = tf.saved_model.load(folder).signatures["serving_default"](images=np.load(pictures))
print("found:", int(found["num_detections"][0]), float(found["scores"][0, 0]))
"""


@pytest.mark.slow
def test_custom_op_in_a_host_that_loads_the_library(coins_model, tmp_path):
    if library.tensorflow_ops() is None:
        pytest.skip("the library cannot be compiled here")
    folder = export(coins_model, tmp_path / "model", custom_op=True)
    np.save(tmp_path / "pictures.npy", COINS[None])
    done = subprocess.run(
        [sys.executable, "-c", USES_THE_LIBRARY, folder / "1", folder / LIBRARY]
        + [tmp_path / "pictures.npy"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    without, found = done.stdout.splitlines()[-2:]
    assert without == "without: True"
    want = kmrcnn.Predictor(coins_model, 0.0).predict(COINS)
    number, score = found.split()[1:]
    assert int(number) == len(want) and abs(float(score) - want.scores[0]) < 1e-4
    got = ArtefactPredictor(folder, 0.0).predict(COINS)
    np.testing.assert_allclose(got.boxes, want.boxes, atol=1e-3)
