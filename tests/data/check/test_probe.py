import io

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.check.images import check_image
from kmrcnn.data.check.probe import find_equal_images, probe_image, probe_images
from kmrcnn.data.images import read_image
from kmrcnn.data.records import Record

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def _record(path, size=None, image_id=1):
    return Record(image_id, path, size, ())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_size_is_the_one_that_reading_gives(tmp_path, suffix, orientation):
    path = tmp_path / f"picture{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    PICTURE.save(path, **({} if suffix == ".bmp" else {"exif": exif}))
    probe = probe_image(_record(path))
    assert probe.upright_size == read_image(path).shape[:2]
    assert probe.size == (20, 30)
    assert probe.orientation == (1 if suffix == ".bmp" else orientation)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_files_are_found_without_decoding_the_others(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    PICTURE.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"trailing bytes" * 20)  # no end marker near the end, but readable
    assert probe_image(_record(path)).error is None
    path.write_bytes(whole[:-100])
    assert "damaged" in probe_image(_record(path)).error


def test_what_is_no_picture(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    names = ["none.png", "empty.png", "text.png", "float.tif"]
    probes = probe_images([_record(tmp_path / name) for name in names])
    assert [probe.is_missing for probe in probes] == [True, False, False, False]
    for probe, part in zip(probes, ["none.png", "empty", "not a picture", "float"]):
        assert part in probe.error and probe.upright_size is None


def test_pictures_in_memory():
    buffer = io.BytesIO()
    PICTURE.save(buffer, "PNG")
    record = Record(1, None, (20, 30), (), image_bytes=buffer.getvalue())
    assert check_image(record, probe_image(record)) == []
    cut = Record(1, None, (20, 30), (), image_bytes=buffer.getvalue()[:-100])
    assert [one.kind for one in check_image(cut, probe_image(cut))] == ["unreadable-image"]


@pytest.mark.parametrize(
    "orientation,annotated,kinds",
    [
        (1, (20, 30), []),
        (1, None, []),
        (1, (30, 20), ["size-mismatch"]),
        (6, (20, 30), ["exif-rotation"]),
        (6, (30, 20), ["exif-orientation"]),
        (6, None, ["exif-orientation"]),
        (2, (20, 30), ["exif-orientation"]),
    ],
)
def test_file_against_annotation(tmp_path, orientation, annotated, kinds):
    exif = Image.Exif()
    exif[0x0112] = orientation
    PICTURE.save(tmp_path / "picture.jpg", exif=exif)
    record = _record(tmp_path / "picture.jpg", annotated)
    assert [one.kind for one in check_image(record, probe_image(record))] == kinds


def test_equal_files_are_grouped(tmp_path):
    for name, content in [("a", b"123"), ("b", b"124"), ("c", b"123"), ("d", b"12"), ("e", b"124")]:
        (tmp_path / name).write_bytes(content)
    records = [_record(tmp_path / name) for name in "abcde"]
    probes = [type(p)((1, 1), num_bytes=p.num_bytes) for p in probe_images(records)]
    assert [p.num_bytes for p in probes] == [3, 3, 3, 2, 3]
    assert sorted(find_equal_images(records, probes)) == [[0, 2], [1, 4]]
