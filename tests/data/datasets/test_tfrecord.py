import json

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.data.datasets.tfrecord import load_tfrecord
from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.data.writers import write_tfrecord

SQUARE = np.array([[2, 3], [12.25, 3], [12.25, 9], [2, 9]])


@pytest.fixture
def dataset(tmp_path, save_picture):
    """Five pictures; the first has objects of every kind."""
    keypoints = np.array([[4, 5, 2], [0, 0, 0]], np.float32)
    counts = {"size": [20, 30], "counts": [5, 3, 592]}
    instances = (
        Instance((2.03, 3, 12.25, 9), 1, [SQUARE], False, 61.7, keypoints, 12345678901),
        Instance((0, 5, 1, 8), 0, counts, True, None, None, "b"),
    )
    paths = [save_picture(tmp_path / "in" / f"{n}.jpg", seed=n) for n in range(5)]
    records = [Record(7, paths[0], None, instances)]
    records += [Record(f"picture {n}", paths[n], (20, 30), ()) for n in range(1, 5)]
    return AnnotatedImages(records, ("cat", "dog"), (3, 7), (), ("nose", "tail"), "tiny")


@pytest.mark.parametrize("num_shards", [None, 1, 2, 99])
def test_what_is_written_is_read(tmp_path, dataset, num_shards):
    assert write_tfrecord(dataset, tmp_path / "out", num_shards=num_shards) == []
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord"))
    count = {None: 1, 99: 5}.get(num_shards, num_shards)
    assert shards == [f"images-{n:05d}-of-{count:05d}.tfrecord" for n in range(count)]
    found = load_tfrecord(tmp_path / "out")
    for name in ("class_names", "category_ids", "keypoint_names", "name", "problems", "has_masks"):
        assert getattr(found, name) == getattr(dataset, name), name
    assert [record.image_id for record in found.records] == [r.image_id for r in dataset.records]
    for one, other in zip(dataset, found):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.is_crowd, other.is_crowd)
        np.testing.assert_array_equal(one.full_masks(), other.full_masks())
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    first, second = found.records[0].instances
    assert first.box == (2.03, 3, 12.25, 9) and first.area == 61.7
    assert (first.annotation_id, second.annotation_id) == (12345678901, "b")
    assert second.area is None and second.keypoints is None


def test_tensorflow_reads_the_documented_schema(tmp_path, dataset):
    write_tfrecord(dataset, tmp_path / "out")
    shard = next((tmp_path / "out").glob("*.tfrecord"))
    serialized = next(iter(tf.data.TFRecordDataset(str(shard))))
    schema = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/size": tf.io.FixedLenFeature([2], tf.int64),
        "object/box": tf.io.VarLenFeature(tf.float32),
        "object/class": tf.io.VarLenFeature(tf.int64),
    }
    found = tf.io.parse_single_example(serialized, schema)
    assert found["image/encoded"].numpy() == dataset.records[0].path.read_bytes()
    assert found["image/size"].numpy().tolist() == [20, 30]
    assert found["object/class"].values.numpy().tolist() == [1, 0]
    assert found["object/box"].values.shape == (8,)


def test_boxes_only(tmp_path, dataset):
    records = [Record(1, dataset.records[0].path, None, (Instance((1, 2, 3, 4), 0, None),))]
    write_tfrecord(AnnotatedImages(records, ("cat",)), tmp_path / "out")
    found = load_tfrecord(tmp_path / "out")
    assert not found.has_masks and found[0].masks is None and found[0].keypoints is None


def test_chosen_classes(tmp_path, dataset):
    write_tfrecord(dataset, tmp_path / "out")
    found = load_tfrecord(tmp_path / "out", class_names=["dog"])
    assert found.category_ids == (7,) and found[0].classes.tolist() == [0]
    with pytest.raises(ValueError, match="class_names.*horse"):
        load_tfrecord(tmp_path / "out", class_names=["horse"])


def test_unreadable_pictures_are_left_out_and_reported(tmp_path, dataset):
    dataset.records[0].path.write_text("no picture")  # its size is asked for
    dataset.records[3].path.unlink()
    problems = write_tfrecord(dataset, tmp_path / "out")
    assert [(p.kind, p.image_id) for p in problems] == [
        ("unreadable-image", 7),
        ("unreadable-image", "picture 3"),
    ]
    found = load_tfrecord(tmp_path / "out")
    assert len(found) == 3 and found.problems == []


def test_a_folder_is_replaced_only_when_asked(tmp_path, dataset):
    out = tmp_path / "out"
    write_tfrecord(dataset, out, num_shards=3)
    with pytest.raises(FileExistsError, match="out is not empty"):
        write_tfrecord(dataset, out)
    write_tfrecord(dataset, out, num_shards=2, overwrite=True)
    assert len(list(out.iterdir())) == 3  # dataset.json and no shard of before
    with pytest.raises(ValueError, match="another folder"):
        write_tfrecord(load_tfrecord(out), out, overwrite=True)


@pytest.mark.parametrize("damage", ["cut", "gone", "garbage", "length"])
def test_damaged_shards_are_reported(tmp_path, dataset, damage):
    out = tmp_path / "out"
    write_tfrecord(dataset, out, num_shards=2)
    shard = sorted(out.glob("*.tfrecord"))[0]
    content = bytearray(shard.read_bytes())
    if damage == "cut":
        shard.write_bytes(content[:-9])
    elif damage == "gone":
        shard.unlink()
    elif damage == "garbage":
        content[12:40] = b"\xff" * 28
        shard.write_bytes(content)
    else:
        content[7] = 255
        shard.write_bytes(content)
    found = load_tfrecord(out)
    assert len(found) == {"cut": 4, "gone": 2, "garbage": 4, "length": 2}[damage]
    assert [problem.kind for problem in found.problems] == ["broken-record"]
    assert shard.name in found.problems[0].message


def test_a_shard_that_ends_early_is_reported(tmp_path, dataset):
    out = tmp_path / "out"
    write_tfrecord(dataset, out, num_shards=2)
    sorted(out.glob("*.tfrecord"))[1].write_bytes(b"")
    found = load_tfrecord(out)
    assert len(found) == 3 and "2 pictures are missing" in found.problems[0].message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "does not describe"),
        ({"version": 9}, "of version 9"),
        ({"class_names": None}, "is damaged"),
    ],
)
def test_another_description_is_an_error_that_names_it(tmp_path, dataset, changes, message):
    write_tfrecord(dataset, tmp_path / "out")
    path = tmp_path / "out" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"dataset\.json.*{message}"):
        load_tfrecord(tmp_path / "out")
