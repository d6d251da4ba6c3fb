import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.datasets.coco import load_coco
from kmrcnn.data.datasets.png_masks import load_png_masks


@pytest.fixture
def labels():
    labels = np.zeros((20, 30), np.uint16)
    labels[2:5, 3:9] = 1
    labels[7:9, 0:4] = 300  # numbers may have gaps, and exceed 8 bits
    return labels


def test_one_label_image_per_picture(tmp_path, save_picture, save_labels, labels):
    save_picture(tmp_path / "images" / "a.jpg")
    save_labels(tmp_path / "masks" / "a.png", labels, np.uint16)
    dataset = load_png_masks(tmp_path, class_names=["cell"])
    assert dataset.class_names == ("cell",)
    example = dataset[0]
    np.testing.assert_array_equal(example.boxes, [[3, 2, 9, 5], [0, 7, 4, 9]])
    np.testing.assert_array_equal(example.full_masks(), [labels == 1, labels == 300])
    elsewhere = load_png_masks(tmp_path / "masks", tmp_path / "images")
    assert len(elsewhere.records[0].instances) == 2 and elsewhere.class_names == ("object",)


def test_palettes_are_read_by_index(tmp_path, save_picture, labels):
    save_picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    image = Image.fromarray(np.where(labels == 300, 2, labels).astype(np.uint8), "P")
    image.putpalette([9, 9, 9] * 256)
    image.save(tmp_path / "masks" / "a.png")
    assert len(load_png_masks(tmp_path)[0].boxes) == 2


@pytest.mark.parametrize("layout", ["masks/a", "a/masks"])
def test_one_file_per_object(tmp_path, save_picture, save_labels, labels, layout, problem_kinds):
    picture = "images/a.png" if layout == "masks/a" else "a/images/a.png"
    save_picture(tmp_path / picture)
    save_labels(tmp_path / layout / "x.png", 255 * (labels == 300))
    save_labels(tmp_path / layout / "y.png", 255 * (labels == 1))
    save_labels(tmp_path / layout / "z.png", np.zeros((20, 30)))
    dataset = load_png_masks(tmp_path)
    np.testing.assert_array_equal(dataset[0].full_masks(), [labels == 300, labels == 1])
    assert problem_kinds(dataset) == ["empty-mask"]


def test_an_empty_label_image_means_no_objects(tmp_path, save_picture, save_labels):
    save_picture(tmp_path / "images" / "a.jpg")
    save_labels(tmp_path / "masks" / "a.png", np.zeros((20, 30)))
    dataset = load_png_masks(tmp_path)
    assert len(dataset) == 1 and dataset.problems == []


def test_bad_files_are_skipped_and_reported(
    tmp_path, save_picture, save_labels, labels, problem_kinds
):
    for name in ("good", "unmasked", "turned", "colour", "damaged"):
        save_picture(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "text.png").write_text("no picture")
    for name in ("good", "text"):
        save_labels(tmp_path / "masks" / f"{name}.png", labels, np.uint16)
    save_labels(tmp_path / "masks" / "turned.png", labels.T, np.uint16)
    save_picture(tmp_path / "masks" / "colour.png")
    content = (tmp_path / "masks" / "good.png").read_bytes()
    (tmp_path / "masks" / "damaged.png").write_bytes(content[: len(content) // 2])
    dataset = load_png_masks(tmp_path)
    assert [record.image_id for record in dataset.records] == ["good"]
    assert problem_kinds(dataset) == [
        "mask-size-mismatch",
        "missing-mask",
        "unreadable-image",
        "unreadable-mask",
        "unreadable-mask",
    ]


def test_wrong_use_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="one class"):
        load_png_masks(tmp_path, class_names=["a", "b"])
    with pytest.raises(ValueError, match="no folder"):
        load_png_masks(tmp_path)


@pytest.mark.realdata
def test_nuclei_equal_their_coco_file(data_dir):
    dataset = load_png_masks(data_dir / "nuclei" / "val")
    reference = load_coco(data_dir / "nuclei" / "annotations" / "instances_val.json")
    by_stem = {record.image_id: record for record in dataset.records}
    assert len(by_stem) == 70
    for record in reference.records:
        counts = {one.segmentation["counts"] for one in record.instances}
        found = by_stem[record.path.stem].instances
        assert {one.segmentation["counts"] for one in found} == counts
