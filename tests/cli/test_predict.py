"""`kmrcnn predict` around a predictor that needs no network: it finds the bright rectangle."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kmrcnn.cli.__main__ import main
from kmrcnn.cli.outputs import image_ids, label_map, unique_names
from kmrcnn.cli.predict import DEFAULT_MODEL, choose_weights
from kmrcnn.data.videos import VideoWriter, frames, video_info
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.explanation import Explanation
from kmrcnn.structures.masks import mask_to_box, rle_to_mask

NAMES = ("coin", "leaf")


class FakePredictor:
    """Finds one object: the pixels above 128; class 1 where they are more than 1000."""

    calls: list = []

    def __init__(self, model, score_threshold=0.5, batch_size=1):
        self.config = model.config
        self.score_threshold = score_threshold
        self.batch_size = batch_size

    def predict(self, pictures):
        if isinstance(pictures, np.ndarray):
            return self._one(pictures)
        FakePredictor.calls.append(len(pictures))
        return [self._one(picture) for picture in pictures]

    def explain(self, picture):
        found = self._one(picture)
        return Explanation(
            proposals=found.boxes,
            objectness=found.scores,
            levels=[3] * len(found),
            roi_levels=[3] * len(found),
            boxes=found.boxes,
            scores=found.scores,
            classes=found.classes,
            proposal_index=np.arange(len(found)),
            status=["kept"] * len(found),
            suppressed_by=[-1] * len(found),
            num_below_threshold=0,
            score_threshold=0.05,
            nms_threshold=0.5,
            max_detections=100,
            detections=found,
        )

    def _one(self, image):
        if image.shape[1] > 20 * image.shape[0]:
            raise ValueError("too elongated")
        mask = image[..., 0] > 128
        fields = {"class_names": NAMES, "category_ids": (7, 9)}
        if not mask.any() or self.score_threshold > 0.9:
            return Detections.empty(image.shape[:2], **fields)
        number = int(mask.sum() > 1000)
        box = mask_to_box(mask)
        return Detections([box], [0.9], [number], image.shape[:2], mask[None], **fields)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Stands in for the model; gives the list of models asked for."""
    asked = []

    def load_model(preset, weights=None):
        asked.append((preset, weights))
        config = SimpleNamespace(
            input=SimpleNamespace(channels=3), class_names=NAMES, mask=SimpleNamespace()
        )
        return SimpleNamespace(config=config)

    zoo, predictor = (
        SimpleNamespace(load_model=load_model),
        SimpleNamespace(Predictor=FakePredictor),
    )
    monkeypatch.setitem(sys.modules, "kmrcnn.models.zoo", zoo)
    monkeypatch.setitem(sys.modules, "kmrcnn.predictor", predictor)
    FakePredictor.calls = []
    return asked


def scene(side: int) -> np.ndarray:
    image = np.zeros((60, 80, 3), np.uint8)
    image[10 : 10 + side, 20 : 20 + side] = 250
    return image


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(scene(20)).save(folder / "a.png")
    Image.fromarray(scene(40)).save(folder / "b.jpg", quality=95)
    Image.fromarray(scene(0)).save(folder / "c.png")
    return folder


def predict(*argv) -> int:
    return main(["predict", *map(str, argv)])


def test_folder_gives_overlays_and_json(photos, tmp_path, capsys, fake):
    out = tmp_path / "out"
    assert predict(photos, "--output", out) == 0
    assert fake == [DEFAULT_MODEL]
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert written == [
        "coco_images.json",
        "coco_results.json",
        "json/a.json",
        "json/b.json",
        "json/c.json",
        "overlay/a.png",
        "overlay/b.jpg",
        "overlay/c.png",
    ]
    text = capsys.readouterr().out
    assert "a.png: coin 1" in text and "b.jpg: leaf 1" in text and "c.png: nothing found" in text
    assert "3 pictures, 2 objects" in text and "pictures/s" in text
    overlay = np.asarray(Image.open(out / "overlay" / "a.png"))
    assert overlay.shape == (60, 80, 3) and (overlay != scene(20)).any()


def test_json_and_coco_files(photos, tmp_path):
    out = tmp_path / "out"
    predict(photos, "--output", out, "--save", "json")
    one = json.loads((out / "json" / "a.json").read_text())
    assert one["detections"][0]["box"] == [20, 10, 40, 30]
    assert one["source"] == str(photos / "a.png")
    results = json.loads((out / "coco_results.json").read_text())
    images = json.loads((out / "coco_images.json").read_text())
    assert [r["image_id"] for r in results] == [1, 2]
    assert [r["category_id"] for r in results] == [7, 9]
    assert results[0]["bbox"] == [20, 10, 20, 20]
    assert rle_to_mask(results[0]["segmentation"]).sum() == 400
    assert [i["id"] for i in images["images"]] == [1, 2, 3]
    assert images["categories"] == [{"id": 7, "name": "coin"}, {"id": 9, "name": "leaf"}]


def test_masks_and_polygons(photos, tmp_path):
    out = tmp_path / "out"
    assert predict(photos / "a.png", "--output", out, "--save", "masks,polygons") == 0
    labels = np.asarray(Image.open(out / "masks" / "a.png"))
    assert labels.dtype == np.uint16 and (labels == (scene(20)[..., 0] > 128)).all()
    document = json.loads((out / "polygons" / "a.json").read_text())
    assert document["imagePath"] == "../../photos/a.png"
    assert document["shapes"][0]["label"] == "coin"
    assert not (out / "overlay").exists() and not (out / "coco_results.json").exists()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_bad_files_are_reported_and_skipped(photos, tmp_path, capsys, batch_size):
    (photos / "aa_cut.png").write_bytes((photos / "a.png").read_bytes()[:60])
    (photos / "bb_text.jpg").write_text("hello")
    Image.fromarray(np.full((2, 90, 3), 255, np.uint8)).save(photos / "cc_long.png")
    out, missing = tmp_path / "out", tmp_path / "none.jpg"
    assert predict(missing, photos, "--output", out, "--batch-size", batch_size) == 1
    assert sorted(p.stem for p in (out / "json").iterdir()) == ["a", "b", "c"]
    captured = capsys.readouterr()
    for name in ("none.jpg", "aa_cut.png", "bb_text.jpg", "cc_long.png"):
        assert captured.err.count(f"{name}") >= 2  # when it happens, and at the end
    assert "cc_long.png: too elongated" in captured.err
    assert "3 pictures" in captured.out and "4 skipped" in captured.err


def test_pictures_are_batched(photos, tmp_path):
    predict(photos, "--output", tmp_path / "out", "--batch-size", 2)
    assert FakePredictor.calls == [2]  # and the last one alone


@pytest.mark.parametrize("name", ["slide.tif", "slide.png"])
def test_tiles_are_put_together(tmp_path, name):
    """The bright square is cut by the borders of the first two tiles of 40 pixels."""
    Image.fromarray(scene(30)).save(tmp_path / name)
    out = tmp_path / "out"
    options = ("--tile", 40, "--overlap", 10, "--save", "json,masks,overlay,polygons")
    assert predict(tmp_path / name, "--output", out, *options) == 0
    (found,) = json.loads((out / "json" / "slide.json").read_text())["detections"]
    assert found["box"] == [20, 10, 50, 40]
    labels = np.asarray(Image.open(out / "masks" / "slide.png"))
    assert (labels == (scene(30)[..., 0] > 128)).all()
    assert (out / "overlay" / "slide.png").exists() and (out / "polygons" / "slide.json").exists()


def test_classes_and_threshold(photos, tmp_path):
    out = tmp_path / "out"
    assert predict(photos, "--output", out, "--classes", "leaf") == 0
    results = json.loads((out / "coco_results.json").read_text())
    assert [r["category_id"] for r in results] == [9]
    assert predict(photos, "--output", out, "--score-threshold", 0.95) == 0
    assert json.loads((out / "coco_results.json").read_text()) == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--classes", "leef"], "Did you mean leaf"),
        (["--model", "mask_rcnn"], "mask_rcnn"),
        (["--weights", "w.npz"], "--weights needs --model"),
        (["--output", "a_file"], "a_file"),
        (["--tile", "40", "--overlap", "40"], "`overlap`"),
        (["--explain", "--tta"], "--explain shows the model alone"),
        (["--explain", "--tile", "40"], "--explain shows the model alone"),
    ],
)
def test_wrong_options_exit_with_2(photos, tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    assert predict(photos, *argv) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_no_input_exists(tmp_path, capsys, fake):
    assert predict(tmp_path / "none.jpg") == 2
    assert "none.jpg" in capsys.readouterr().err and fake == []


def test_explain_writes_every_stage(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(photos / "a.png", "--output", out, "--explain") == 0
    names = sorted(p.name for p in (out / "explain" / "a").iterdir())
    assert names == [
        "1_proposals.png",
        "2_scored.png",
        "3_removed.png",
        "4_detections.png",
        "summary.txt",
    ]
    assert "proposals" in capsys.readouterr().out
    assert (out / "overlay" / "a.png").exists()


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 10.0) as writer:
        for _ in range(5):
            writer.write(scene(20))
    return tmp_path / "clip.mp4"


def test_video_is_annotated(clip, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(clip, "--output", out, "--max-frames", 4) == 0
    text = capsys.readouterr().out
    assert "80x60, 10 frames/s" in text and "4 frames, coin 4" in text
    info = video_info(out / "overlay" / "clip.mp4")
    assert info.frame_rate == pytest.approx(10) and info.num_frames == 4
    first = next(iter(frames(out / "overlay" / "clip.mp4"))).astype(int)
    assert first[20, 30].max() - first[20, 30].min() > 40  # coloured, it was white
    assert len(json.loads((out / "coco_results.json").read_text())) == 4
    assert (out / "json" / "clip_000003.json").exists()


def test_bad_video_is_skipped(clip, photos, tmp_path, capsys):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    out = tmp_path / "out"
    assert predict(bad, clip, photos, "--output", out) == 1
    captured = capsys.readouterr()
    assert "skipped" in captured.err and "bad.mp4" in captured.err
    assert "8 pictures" in captured.out
    assert [p.name for p in (out / "overlay").glob("*.mp4")] == ["clip.mp4"]


def test_same_names_do_not_overwrite_each_other(photos, tmp_path):
    Image.fromarray(scene(10)).save(photos / "A.jpg")
    out = tmp_path / "out"
    assert predict(photos, "--output", out, "--save", "json") == 0
    assert len(list((out / "json").iterdir())) == 4
    assert unique_names([photos / "a.png", photos / "b.png", photos / "A.jpg"]) == ["a", "b", "A_2"]


def test_image_ids_are_the_numbers_of_coco_files(photos):
    assert image_ids([photos / "000000000139.jpg", photos / "7.jpg"]) == [139, 7]
    assert image_ids([photos / "7.jpg", photos / "07.jpg"]) == [1, 2]
    assert image_ids([photos / "a.jpg", photos / "7.jpg"]) == [1, 2]


def test_label_map_gives_a_shared_pixel_to_the_better_score():
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :, :3] = masks[1, :, 2:] = True
    boxes = [[0, 0, 3, 3], [2, 0, 4, 3]]
    labels = label_map(Detections(boxes, [0.6, 0.8], [0, 0], (3, 4), masks))
    assert labels[0].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    "model, weights, expected",
    [
        (None, None, DEFAULT_MODEL),
        ("maskrcnn_resnet50_fpn", None, ("maskrcnn_resnet50_fpn", "coco")),
        ("mask_rcnn_r18_coins", None, DEFAULT_MODEL),
        ("maskrcnn_resnet50_fpn", "w.pth", ("maskrcnn_resnet50_fpn", "w.pth")),
        ("mine.keras", None, ("mine.keras", None)),
    ],
)
def test_weights_are_chosen(model, weights, expected):
    assert choose_weights(model, weights) == expected


def test_a_preset_without_weights_asks_for_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("description: mine\n")
    with pytest.raises(ValueError, match="--weights"):
        choose_weights(str(path), None)


def test_an_interrupted_run_keeps_what_it_has(photos, tmp_path, monkeypatch):
    original = FakePredictor._one

    def interrupted(self, image):
        if image[..., 0].max() == 0:  # c.png
            raise KeyboardInterrupt
        return original(self, image)

    monkeypatch.setattr(FakePredictor, "_one", interrupted)
    assert predict(photos, "--output", tmp_path / "out") == 130
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert len(results) == 2
