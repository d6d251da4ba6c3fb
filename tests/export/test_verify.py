"""Verification must pass what is right and notice everything that is wrong."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from kmrcnn.config.schema import InputConfig
from kmrcnn.export import export, metadata, verify
from kmrcnn.export.artefact_predictor import ArtefactPredictor
from kmrcnn.export.tolerances import TOLERANCES
from tests.export import stand_in
from tests.tiny import CLASS_NAMES, tiny_model

SIZE = (96, 160)


@pytest.fixture(scope="module", autouse=True)
def stand_in_format():
    with pytest.MonkeyPatch.context() as patch:
        stand_in.register(patch)
        yield


@pytest.fixture(autouse=True)
def nothing_planted():
    yield
    stand_in.planted.clear()


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (60, 90), "b.jpg": (96, 128), "c.png": (120, 100)}.items():
        small = rng.integers(0, 256, (size[0] // 6, size[1] // 6, 3)).astype(np.uint8)
        Image.fromarray(small).resize(size[::-1]).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def artefact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("artefact") / "model"
    return export(model, path, format=stand_in.NAME, image_size=SIZE)


def plant(error) -> None:
    stand_in.planted.append(error)


def changed(name, change):
    """A planted error: `change` of one output."""
    return lambda outputs: outputs | {name: change(outputs[name].copy())}


def test_equal_detections_pass(model, artefact, pictures):
    report = verify(artefact, model, pictures, progress=False)
    assert report.passed and report.failures() == []
    figures = report.to_dict()
    assert figures["comparison"]["pictures"] == 3
    assert figures["comparison"]["detections"] >= 15
    assert figures["comparison"]["matched"] == 1.0
    assert figures["comparison"]["box_px_max"] < 1e-3
    assert figures["comparison"]["mask_pixels"] > 0.9999
    assert figures["latency"]["ratio"] > 0
    assert figures["files"] is None and figures["average_precisions"] is None
    assert figures["megabytes"] == pytest.approx(2 * len("twin 0") / 1e6, rel=0.3)


def test_report_lies_beside_the_artefact(model, artefact, pictures):
    report = verify(artefact, model, pictures, limit=1, progress=False)
    written = json.loads((artefact / "verification.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert written["weights_sha256"] == metadata.read(artefact)["weights_sha256"]
    text = (artefact / "verification.md").read_text()
    assert "| matched detections | 1.0000 (0 missing, 0 extra) | 1 |" in text
    assert "Within the tolerance." in text
    assert "1 pictures" in str(report)


def half_of_each_mask(masks):
    masks[..., : masks.shape[-1] // 2] = 0.0
    return masks


def one_mask(masks):
    masks[:, 0] = 1.0 - masks[:, 0]
    return masks


def drop_first(outputs):
    rolled = {name: np.roll(value, -1, axis=1) for name, value in slots(outputs).items()}
    return outputs | rolled | {"num_detections": outputs["num_detections"] - 1}


def one_more(outputs):
    last = int(outputs["num_detections"][0]) - 1
    outputs = {name: value.copy() for name, value in outputs.items()}
    outputs["boxes"][:, last] = [1.0, 2.0, 9.0, 12.0]
    outputs["scores"][:, last] = 0.9
    return outputs


def slots(outputs):
    return {name: value for name, value in outputs.items() if name != "num_detections"}


WRONG = {
    "boxes shifted by a pixel": (changed("boxes", lambda b: b + 1.0), "box difference"),
    "boxes in another order of axes": (changed("boxes", lambda b: b[..., [1, 0, 3, 2]]), "matched"),
    "scores off": (changed("scores", lambda s: s * 0.999), "score difference"),
    "classes one off": (changed("classes", lambda c: (c + 1) % 5), "matched"),
    "zeros": (lambda outputs: {n: np.zeros_like(v) for n, v in outputs.items()}, "matched"),
    "NaN boxes": (changed("boxes", lambda b: b * np.nan), "matched"),
    "half of each mask": (changed("masks", half_of_each_mask), "equal mask pixels"),
    "one mask inverted": (changed("masks", one_mask), "equal mask pixels"),
    "mask transposed": (changed("masks", lambda m: m.swapaxes(2, 3)), "equal mask pixels"),
    "one detection lost": (drop_first, "matched"),
    "one detection invented": (one_more, "matched"),
    "no number": (changed("num_detections", lambda n: n * 0), "matched"),
}


@pytest.mark.parametrize("name", WRONG)
def test_planted_error_is_noticed(model, artefact, pictures, name):
    error, complaint = WRONG[name]
    plant(error)
    report = verify(artefact, model, pictures, limit=1, progress=False)
    assert not report.passed
    assert any(complaint in failure for failure in report.failures()), report.failures()
    assert "BEYOND THE TOLERANCE" in str(report)
    assert json.loads((artefact / "verification.json").read_text())["passed"] is False


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", ["zeros", "half of each mask", "classes one off"])
def test_wide_tolerances_still_notice_a_broken_model(model, artefact, pictures, name, precision):
    plant(WRONG[name][0])
    tolerance = TOLERANCES[precision]
    assert not verify(artefact, model, pictures, tolerance=tolerance, progress=False).passed


def test_order_of_detections_does_not_matter(model, artefact, pictures):
    def reverse(outputs):
        number = int(outputs["num_detections"][0])
        order = np.r_[np.arange(number)[::-1], number : outputs["scores"].shape[1]]
        return outputs | {name: value[:, order] for name, value in slots(outputs).items()}

    plant(reverse)
    assert verify(artefact, model, pictures, progress=False).passed


def test_a_weak_detection_may_go(model, artefact, pictures):
    def without_the_weakest(outputs):
        return outputs | {"num_detections": outputs["num_detections"] - 1}

    full = ArtefactPredictor(artefact, 0.0).predict(sorted(pictures.iterdir()))
    assert all(len(found) == 12 for found in full)  # the twelfth is where the list ends
    plant(without_the_weakest)
    assert verify(artefact, model, pictures, progress=False).passed


def test_nothing_compared_is_not_a_pass(model, artefact, pictures):
    report = verify(artefact, model, pictures, score_floor=0.999, progress=False)
    assert [failure.split(":")[0] for failure in report.failures()] == ["nothing to compare"]


def test_thresholds_of_the_artefact_hold_for_both(model, pictures, tmp_path):
    path = export(
        model,
        tmp_path / "few",
        format=stand_in.NAME,
        image_size=SIZE,
        batch_size=2,
        score_threshold=0.2,
        nms_threshold=0.3,
        max_detections=4,
    )
    report = verify(path, model, pictures, progress=False)
    assert report.passed, report
    assert report.comparison.num_reference <= 3 * 4


def test_bgr_and_antialiased_pictures(pictures, tmp_path):
    settings = InputConfig(
        short_side=96,
        long_side=160,
        channel_order="bgr",
        resize="antialiased_uint8",
        size_rounding="half_up",
    )
    model = tiny_model(input=settings)
    path = export(model, tmp_path / "bgr", format=stand_in.NAME, image_size=SIZE)
    report = verify(path, model, pictures, progress=False)
    assert report.passed, report


def annotations_of(found, folder):
    """A COCO file that says what was found."""
    images, annotations = [], []
    for number, (path, detections) in enumerate(found.items(), 1):
        height, width = detections.image_size
        size = {"height": height, "width": width}
        images.append({"id": number, "file_name": path.name} | size)
        for result in detections.to_coco(number):
            area = result["bbox"][2] * result["bbox"][3]
            extra = {"id": len(annotations) + 1, "area": area, "iscrowd": 0}
            annotations.append(result | extra)
    names = enumerate(CLASS_NAMES, 1)
    categories = [{"id": number, "name": name} for number, name in names]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder / "annotations.json"


def test_average_precision_of_both(model, artefact, pictures, tmp_path):
    predictor = ArtefactPredictor(artefact, score_threshold=0.0)
    found = {path: predictor.predict(path) for path in sorted(pictures.iterdir())}
    annotations = annotations_of(found, tmp_path)
    report = verify(artefact, model, pictures, annotations, progress=False)
    assert report.passed, report
    box_ap = report.average_precisions["box_ap"]
    assert box_ap["keras"] == pytest.approx(1.0) and box_ap["delta"] == pytest.approx(0.0, abs=1e-6)
    assert report.average_precisions["mask_ap"]["keras"] > 0.9

    plant(changed("boxes", lambda boxes: boxes + 3.0))
    loose = dataclasses.replace(TOLERANCES["int8"], box_px=100.0, mask_pixels=0.0)
    report = verify(artefact, model, pictures, annotations, tolerance=loose, progress=False)
    assert report.average_precisions["box_ap"]["delta"] < -0.05
    assert any(failure.startswith("box_ap") for failure in report.failures())


def test_other_weights_are_refused(model, artefact, pictures):
    with pytest.raises(ValueError, match="other weights"):
        verify(artefact, tiny_model(seed=1), pictures, progress=False)
    with pytest.raises(ValueError, match="`model` must be a kmrcnn model. Received: str"):
        verify(artefact, "model.keras", pictures)


@pytest.mark.parametrize(
    "arguments, message",
    [({"limit": 0}, "`limit`"), ({"score_floor": 1.5}, "`score_floor`")],
)
def test_wrong_arguments_are_refused(model, artefact, pictures, arguments, message):
    with pytest.raises(ValueError, match=message):
        verify(artefact, model, pictures, **arguments)


def test_missing_things_are_named(model, artefact, pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match="no exported model"):
        verify(tmp_path, model, pictures)
    with pytest.raises(ValueError, match="has no pictures"):
        verify(artefact, model, tmp_path)
    with pytest.raises(ValueError, match="no pictures to verify with"):
        verify(artefact, model, [])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="broken.png"):
        verify(artefact, model, tmp_path, progress=False)


def test_models_without_masks(pictures, tmp_path):
    model = tiny_model(mask=None)
    path = export(model, tmp_path / "boxes", format=stand_in.NAME, image_size=SIZE)
    report = verify(path, model, pictures, progress=False)
    assert report.passed, report
    assert report.to_dict()["comparison"]["mask_pixels"] is None
    assert "mask" not in str(report)
