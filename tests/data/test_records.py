import io

import numpy as np
import pytest
from PIL import Image

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.records import AnnotatedImages, FileSlice, Instance, Problem, Record


def png(size=(20, 30), value=90):
    file = io.BytesIO()
    Image.new("RGB", size[::-1], (value, value, value)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_comes_from_its_file_from_memory_or_from_a_part_of_a_file(tmp_path):
    (tmp_path / "a.png").write_bytes(png(value=10))
    (tmp_path / "shard").write_bytes(b"before" + png(value=30) + b"after")
    part = FileSlice(tmp_path / "shard", 6, len(png(value=30)))
    records = [
        Record("file", tmp_path / "a.png", None, ()),
        Record("memory", None, None, (), image_bytes=png(value=20)),
        Record("part", None, None, (), image_slice=part),
    ]
    dataset = AnnotatedImages(records, ("cat",))
    assert [example.image[0, 0, 0] for example in dataset] == [10, 20, 30]
    assert [record.read_size() for record in records] == [(20, 30)] * 3
    assert [record.read_bytes()[:4] for record in records] == [b"\x89PNG"] * 3


def test_a_picture_without_a_source_is_an_error_that_names_it():
    with pytest.raises(FileNotFoundError, match="'lost' has no file"):
        AnnotatedImages([Record("lost", None, (2, 2), ())], ("cat",))[0]


def test_an_unreadable_picture_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    records = [Record(1, tmp_path / "a.png", None, ()), Record(2, None, None, (), b"no picture")]
    dataset = AnnotatedImages(records, ("cat",))
    for index, name in enumerate((r"a\.png", "The picture 2")):
        with pytest.raises(ValueError, match=f"{name} is not a picture"):
            dataset[index]


def test_boxes_and_masks_are_clipped_to_the_picture():
    square = np.array([[25, 15], [35, 15], [35, 25], [25, 25.0]])
    instances = (
        Instance((25, 15, 35, 25), 0, [square]),
        Instance((-4, -4, 2, 3), 0, MaskCrop(np.ones((7, 6), bool), -4, -4)),
    )
    example = AnnotatedImages([Record(1, None, None, instances, png())], ("cat",))[0]
    np.testing.assert_array_equal(example.boxes, [[25, 15, 30, 20], [0, 0, 2, 3]])
    np.testing.assert_array_equal([crop.box() for crop in example.masks], example.boxes)
    np.testing.assert_array_equal(example.area, [25, 6])
    assert instances[0].box == (25, 15, 35, 25)


def test_areas_of_the_file_are_kept_where_known():
    square = [np.array([[2, 2], [4, 2], [4, 4], [2, 4.0]])]
    known = Instance((2, 2, 4, 4), 0, square, area=3.5)
    unknown = Instance((2, 2, 4, 4), 0, square)
    records = [Record(1, None, None, (known, known), png())]
    records += [Record(2, None, None, (known, unknown), png())]
    dataset = AnnotatedImages(records, ("cat",))
    assert dataset[0].area.tolist() == [3.5, 3.5] and dataset[1].area.tolist() == [3.5, 4]


def test_subset_keeps_order_and_what_the_dataset_is():
    with_mask = Instance((1, 1, 3, 3), 0, [np.array([[1, 1], [3, 1], [3, 3.0]])])
    records = [Record(n, None, None, (with_mask,) if n == 0 else (), png()) for n in range(4)]
    dataset = AnnotatedImages(records, ("cat",), (9,), [Problem("a", "b")], ("nose",), "tiny")
    part = dataset.subset(np.array([3, 1]))
    assert [record.image_id for record in part.records] == [3, 1]
    assert (part.category_ids, part.keypoint_names, part.name) == ((9,), ("nose",), "tiny")
    assert part.has_masks and part[0].masks == [] and part[0].keypoints.shape == (0, 1, 3)


def test_report_counts_everything():
    crowd = Instance((1, 1, 3, 3), 1, None, is_crowd=True)
    point = Instance((1, 1, 3, 3), 1, None, keypoints=np.ones((1, 3), np.float32))
    records = [Record(1, None, None, (crowd, point)), Record(2, None, None, ())]
    problems = [Problem("zero-area-box", "")] * 2 + [Problem("bad-rle", "")]
    dataset = AnnotatedImages(records, ("cat", "dog"), None, problems, ("nose",), "tiny")
    assert dataset.category_ids == (1, 2)
    assert dataset.report() == (
        "tiny: 2 images (1 without objects), 2 instances (1 crowds); 2 classes: dog 2; boxes "
        "only; 1 keypoints on 1 instances; skipped: zero-area-box 2, bad-rle 1."
    )


def test_wrong_use_is_an_error():
    with pytest.raises(ValueError, match="one id per class.*2 ids for 1 classes"):
        AnnotatedImages([], ("cat",), (1, 2))
    with pytest.raises(IndexError):
        AnnotatedImages([], ("cat",))[0]
