"""COCO JSON to TFRecord and LabelMe and back."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from kmrcnn.data.datasets import open_dataset
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.data.writers import write_coco, write_labelme, write_tfrecord

SQUARE = np.array([[2, 3], [12.5, 3], [12.5, 9], [2, 9]])
KEYPOINTS = np.array([[4, 5, 2], [0, 0, 0]], np.float32)


@pytest.fixture
def dataset(tmp_path):
    """Two pictures of 20 x 30: polygons in parts, run lengths, a bitmap, a crowd, keypoints."""
    paths = [tmp_path / "in" / name for name in ("a.png", "b.jpg")]
    paths[0].parent.mkdir()
    for path in paths:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    parts = [SQUARE, SQUARE + [15, 8]]
    runs = {"size": [20, 30], "counts": [5, 3, 592]}
    instances = (
        Instance((2, 3, 27.5, 17), 1, parts, False, 125.5, KEYPOINTS, 40),
        Instance((0, 5, 1, 8), 0, runs, True, 3.0, None, 41),
        Instance((3, 2, 6, 4), 0, MaskCrop(np.ones((2, 3), bool), 2, 3), annotation_id=42),
    )
    records = [Record(11, paths[0], (20, 30), instances), Record(12, paths[1], None, ())]
    return AnnotatedImages(records, ("cat", "dog"), (3, 7), (), ("nose", "tail"), "tiny")


def assert_equal(found, expected, areas=True):
    assert found.class_names == expected.class_names
    assert len(found) == len(expected) and found.problems == []
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.is_crowd, other.is_crowd)
        np.testing.assert_array_equal(one.full_masks(), other.full_masks())
        if areas:
            np.testing.assert_allclose(one.area, other.area)


def test_coco_to_tfrecord_to_coco(tmp_path, dataset):
    assert write_coco(dataset, tmp_path / "a.json") == []
    first = open_dataset(tmp_path / "a.json")
    assert_equal(first, dataset)
    assert write_tfrecord(first, tmp_path / "shards") == []
    assert write_coco(open_dataset(tmp_path / "shards"), tmp_path / "out" / "b.json") == []
    last = open_dataset(tmp_path / "out" / "b.json")
    assert_equal(last, dataset)
    assert last.category_ids == (3, 7) and last.keypoint_names == ("nose", "tail")
    assert [record.image_id for record in last.records] == [11, 12]
    assert [one.annotation_id for one in last.records[0].instances] == [40, 41, 42]
    np.testing.assert_array_equal(last.records[0].instances[0].keypoints, KEYPOINTS)
    # pictures out of shards are files again, byte for byte
    names = sorted(path.name for path in (tmp_path / "out" / "b_images").iterdir())
    assert names == ["11.png", "12.jpg"]
    assert last.records[0].path.read_bytes() == dataset.records[0].path.read_bytes()


def test_coco_to_labelme_to_coco(tmp_path, dataset):
    write_coco(dataset, tmp_path / "a.json")
    assert write_labelme(open_dataset(tmp_path / "a.json"), tmp_path / "labelme") == []
    found = open_dataset(tmp_path / "labelme")
    assert_equal(found, dataset, areas=False)  # LabelMe knows no areas
    assert len(found.records[0].instances[0].segmentation) == 2
    write_coco(found, tmp_path / "b.json")
    assert_equal(open_dataset(tmp_path / "b.json"), found)


def test_pycocotools_reads_what_is_written(tmp_path, dataset):
    write_coco(dataset, tmp_path / "a.json")
    reference = COCO(str(tmp_path / "a.json"))
    for mask, number in zip(dataset[0].full_masks(), (40, 41, 42)):
        np.testing.assert_array_equal(reference.annToMask(reference.anns[number]), mask)
    assert reference.anns[40]["bbox"] == [2, 3, 25.5, 14]
    assert reference.anns[40]["keypoints"] == [4, 5, 2, 0, 0, 0]
    assert reference.anns[40]["num_keypoints"] == 1 and reference.anns[41]["num_keypoints"] == 0
    assert reference.anns[42]["area"] == 6
    assert reference.imgs[11]["file_name"] == "in/a.png"
    assert (reference.imgs[12]["height"], reference.imgs[12]["width"]) == (20, 30)


def test_ids_that_are_no_integers_are_counted(tmp_path, dataset):
    records = [Record(r.path.stem, r.path, r.size, r.instances) for r in dataset.records]
    write_coco(AnnotatedImages(records, ("cat", "dog")), tmp_path / "a.json")
    assert [image["id"] for image in json.loads((tmp_path / "a.json").read_text())["images"]] == [
        1,
        2,
    ]


def test_boxes_only(tmp_path, dataset):
    instance = Instance((2, 3, 12, 9), 0, None)
    boxes = AnnotatedImages([Record("a", dataset.records[0].path, None, (instance,))], ("cat",))
    write_coco(boxes, tmp_path / "a.json")
    write_labelme(boxes, tmp_path / "labelme")
    for found in (open_dataset(tmp_path / "a.json"), open_dataset(tmp_path / "labelme")):
        assert not found.has_masks
        np.testing.assert_array_equal(found[0].boxes, [[2, 3, 12, 9]])
        assert found[0].area.tolist() == [60]


def test_labelme_outlines_within_the_tolerance(tmp_path, dataset):
    rows, columns = np.mgrid[:20, :30]
    disc = (rows - 9.5) ** 2 + (columns - 14.5) ** 2 < 64
    instance = Instance((6, 1, 23, 18), 0, MaskCrop.from_full(disc))
    records = [Record("a", dataset.records[0].path, None, (instance,))]
    points = []
    for number, tolerance in enumerate((0.0, 0.5, 2.0)):
        folder = tmp_path / str(number)
        write_labelme(AnnotatedImages(records, ("cat",)), folder, tolerance=tolerance)
        found = open_dataset(folder)
        mask = found[0].full_masks()[0]
        assert (mask ^ disc).sum() <= tolerance * 2 * np.pi * 8
        points.append(len(found.records[0].instances[0].segmentation[0]))
    assert points == sorted(points, reverse=True) and points[0] > points[2]


def test_pictures_of_the_same_name_get_a_file_each(tmp_path, dataset):
    other = tmp_path / "in" / "more" / "a.png"
    other.parent.mkdir()
    Image.new("RGB", (8, 8)).save(other)
    records = [Record(n, path, None, ()) for n, path in enumerate([dataset.records[0].path, other])]
    write_labelme(AnnotatedImages(records, ("cat",)), tmp_path / "out")
    found = open_dataset(tmp_path / "out")
    assert [record.image_id for record in found.records] == ["a", "a_2"]
    assert [example.image.shape for example in found] == [(20, 30, 3), (8, 8, 3)]


@pytest.mark.parametrize("write", [write_coco, write_labelme, write_tfrecord])
def test_unreadable_pictures_are_left_out_and_reported(tmp_path, dataset, write):
    dataset.records[1].path.write_text("no picture")
    target = tmp_path / ("out.json" if write is write_coco else "out")
    problems = write(dataset, target)
    assert [(p.kind, p.image_id) for p in problems] == [("unreadable-image", 12)]
    assert len(open_dataset(target)) == 1


@pytest.mark.parametrize("write", [write_coco, write_labelme, write_tfrecord])
def test_nothing_is_overwritten_unless_asked(tmp_path, dataset, write):
    target = tmp_path / ("out.json" if write is write_coco else "out")
    write(dataset, target)
    with pytest.raises(FileExistsError, match=target.name):
        write(dataset, target)
    write(dataset, target, overwrite=True)
    assert len(open_dataset(target)) == 2


@pytest.mark.realdata
def test_real_crowds_and_keypoints_survive(data_dir, tmp_path):
    path = data_dir / "coco_mini/annotations/person_keypoints_train2017.json"
    expected = open_dataset(path).subset(range(8))
    write_tfrecord(expected, tmp_path / "shards", num_shards=2)
    write_coco(open_dataset(tmp_path / "shards"), tmp_path / "b.json")
    found = open_dataset(tmp_path / "b.json")
    assert_equal(found, expected)
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
