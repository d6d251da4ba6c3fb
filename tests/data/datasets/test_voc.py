import numpy as np
import pytest

from kmrcnn.data.datasets.voc import load_voc

DOG = "<object><name>dog</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>9</ymax></bndbox></object>"  # noqa: E501
CAT = DOG.replace("dog", "cat").replace("</name>", "</name><difficult>1</difficult>")
FLAT = DOG.replace("<xmax>12", "<xmax>3")


@pytest.fixture
def write(tmp_path, save_picture):
    """Writes an annotation, its picture of 20 x 30, and gives the root."""

    def write(stem="a", objects=DOG, text=None):
        save_picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        text = text or (
            f"<annotation><filename>{stem}.jpg</filename><size><width>30</width>"
            f"<height>20</height></size>{objects}</annotation>"
        )
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(text)
        return tmp_path

    return write


@pytest.fixture
def labels():
    """Label image: object 1 in rows 3..8, columns 2..11 but for a void border on the left."""
    labels = np.zeros((20, 30), np.uint8)
    labels[3:9, 2:12] = 1
    labels[3:9, 2] = 255
    return labels


def test_boxes_are_zero_based_and_continuous(write):
    dataset = load_voc(write(objects=DOG + CAT))
    assert dataset.class_names == ("cat", "dog") and not dataset.has_masks
    example = dataset[0]
    np.testing.assert_array_equal(example.boxes, [[2, 3, 12, 9]] * 2)
    assert example.classes.tolist() == [1, 0] and example.is_crowd.tolist() == [False, True]
    assert example.image_id == "a"


def test_the_kth_object_has_the_kth_mask(write, labels, save_labels):
    root = write(objects=DOG + CAT)
    labels[15:18, 20:25] = 2
    save_labels(root / "SegmentationObject" / "a.png", labels)
    masks = load_voc(root)[0].full_masks()
    np.testing.assert_array_equal(masks[0], labels == 1)
    np.testing.assert_array_equal(masks[1], labels == 2)


def test_masks_are_for_all_pictures_or_for_a_list(write, labels, save_labels):
    root = write("a")
    write("b")
    save_labels(root / "SegmentationObject" / "a.png", labels)
    assert len(load_voc(root)) == 2 and not load_voc(root).has_masks
    assert len(load_voc(root, masks=True)) == 1
    listed = root / "ImageSets" / "Segmentation" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("a\n")
    for dataset in (load_voc(listed), load_voc(root, split="val")):
        assert len(dataset) == 1 and dataset.has_masks


def test_an_object_without_pixels_is_reported(write, labels, save_labels, problem_kinds):
    root = write(objects=DOG + CAT)
    save_labels(root / "SegmentationObject" / "a.png", labels)
    dataset = load_voc(root)
    assert len(dataset.records[0].instances) == 1 and problem_kinds(dataset) == ["empty-mask"]


@pytest.mark.parametrize(
    ("objects", "kind"),
    [
        (FLAT, "zero-area-box"),
        (DOG.replace("<xmin>3", "<xmin>100").replace("<xmax>12", "<xmax>110"), "box-outside-image"),
        ("<object><name>dog</name></object>", "zero-area-box"),
        (DOG.replace("<xmin>3", "<xmin>nan"), "bad-box"),
        (DOG.replace("<xmax>12", "<xmax>1e300"), "bad-box"),
    ],
)
def test_bad_objects_are_skipped_and_reported(write, problem_kinds, objects, kind):
    dataset = load_voc(write(objects=DOG + objects))
    assert [one.annotation_id for one in dataset.records[0].instances] == [1]
    assert problem_kinds(dataset) == [kind]


def test_bad_files_are_skipped_and_reported(write, save_labels, problem_kinds):
    root = write("a")
    write("b", text="<annotation>")
    write("c")
    (root / "JPEGImages" / "c.jpg").unlink()
    dataset = load_voc(root)
    assert len(dataset) == 1 and problem_kinds(dataset) == ["broken-record", "missing-image"]
    save_labels(root / "SegmentationObject" / "a.png", np.zeros((30, 20)))
    dataset = load_voc(root, masks=True)
    assert len(dataset) == 0 and problem_kinds(dataset) == ["mask-size-mismatch"]


def test_unknown_classes(write, problem_kinds):
    root = write(objects=DOG + CAT)
    dataset = load_voc(root, class_names=["dog", "horse"])
    assert dataset.class_names == ("dog", "horse")
    assert problem_kinds(dataset) == ["unknown-category"]
    with pytest.raises(ValueError, match="None of `class_names`.*cat, dog"):
        load_voc(root, class_names=["hors"])


def test_another_folder_is_an_error_that_names_it(tmp_path, write):
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*Pascal VOC"):
        load_voc(tmp_path)
    with pytest.raises(ValueError, match="There is no list .*minitrain"):
        load_voc(write(), split="minitrain")


@pytest.mark.realdata
def test_counts_of_bccd(data_dir):
    dataset = load_voc(data_dir / "bccd_voc")
    counts = np.bincount([one.class_index for r in dataset.records for one in r.instances])
    # the README counts 4155 RBC; two of these have no width
    assert dict(zip(dataset.class_names, counts)) == {"Platelets": 361, "RBC": 4153, "WBC": 372}
    assert len(dataset) == 364
    assert [(p.kind, p.image_id) for p in dataset.problems] == [
        ("zero-area-box", "BloodImage_00338"),
        ("zero-area-box", "BloodImage_00343"),
    ]
    assert len(load_voc(data_dir / "bccd_voc", split="test")) == 72


@pytest.mark.realdata
def test_masks_of_voc_mini_lie_in_their_boxes(data_dir):
    dataset = load_voc(data_dir / "voc_mini")
    assert len(dataset) == 24 and sum(len(r.instances) for r in dataset.records) == 132
    for index in range(0, 24, 4):
        example = dataset[index]
        inside = np.array([crop.box() for crop in example.masks])
        assert (inside[:, :2] >= example.boxes[:, :2]).all()
        assert (inside[:, 2:] <= example.boxes[:, 2:]).all()
    assert len(load_voc(data_dir / "voc_mini", split="train")) == 12
