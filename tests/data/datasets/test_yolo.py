import numpy as np
import pytest

from kmrcnn.data.datasets.yolo import load_yolo


@pytest.fixture
def write(tmp_path, save_picture):
    """Writes a picture of 20 x 30 (height, width) and its labels, and gives the root."""

    def write(labels, stem="a", split="train", mirrored=True):
        save_picture(tmp_path / "images" / split / f"{stem}.jpg")
        folder = tmp_path / ("labels" if mirrored else "images") / split
        folder.mkdir(parents=True, exist_ok=True)
        if labels is not None:
            (folder / f"{stem}.txt").write_text(labels)
        return tmp_path

    return write


POLYGON = "1 0.1 0.2 0.4 0.2 0.4 0.5 0.1 0.5"  # x 3..12, y 4..10
BOX = "0 0.5 0.5 0.2 0.4"  # x 12..18, y 6..14


@pytest.mark.parametrize("mirrored", [True, False])
def test_polygons_are_fractions_of_width_and_height(write, mirrored):
    dataset = load_yolo(write(POLYGON, mirrored=mirrored))
    assert dataset.class_names == ("class 0", "class 1") and dataset.category_ids == (0, 1)
    example = dataset[0]
    np.testing.assert_allclose(example.boxes, [[3, 4, 12, 10]], rtol=1e-6)
    expected = np.zeros((20, 30), bool)
    expected[4:10, 3:12] = True
    np.testing.assert_array_equal(example.full_masks(), [expected])


def test_boxes(write):
    dataset = load_yolo(write(BOX))
    assert not dataset.has_masks
    np.testing.assert_allclose(dataset[0].boxes, [[12, 6, 18, 14]], rtol=1e-6)


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}"])
def test_data_yaml(write, names):
    root = write(BOX)
    write(BOX, stem="b", split="val")
    text = f"path: /gone\ntrain: images/train\nval: [images/val]\nnames: {names}\n"
    (root / "data.yaml").write_text(text)
    assert load_yolo(root).class_names == ("cat", "dog") and len(load_yolo(root)) == 2
    dataset = load_yolo(root / "data.yaml", split="val")
    assert [record.image_id for record in dataset.records] == ["images/val/b"]
    with pytest.raises(ValueError, match=r"data\.yaml names no pictures: .* test"):
        load_yolo(root, split="test")


def test_lists_of_pictures_and_folders_of_other_tools(write):
    root = write(BOX)
    (root / "train.txt").write_text("images/train/a.jpg\n")
    (root / "data.yaml").write_text("train: train.txt\nval: ../images/train\nnames: [cat]\n")
    assert len(load_yolo(root, split="train")) == 1 == len(load_yolo(root, split="val"))


def test_classes_txt(write):
    root = write(BOX)
    (root / "classes.txt").write_text("cat\ndog\n")
    assert load_yolo(root).class_names == ("cat", "dog")
    assert load_yolo(root, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("shape", "words", "expected"),
    [
        ("[2, 3]", "0.1 0.5 2 0 0 0", [[3, 10, 2], [0, 0, 0]]),
        ("[2, 2]", "0.1 0.5 0 0", [[3, 10, 2], [0, 0, 0]]),
    ],
)
def test_keypoints(write, shape, words, expected):
    root = write(f"{BOX} {words}")
    text = f"train: images/train\nnames: [cat]\nkpt_shape: {shape}\n"
    (root / "data.yaml").write_text(text)
    np.testing.assert_allclose(load_yolo(root)[0].keypoints, [expected], rtol=1e-6)


def test_pictures_without_labels_have_no_objects(write):
    root = write(BOX)
    write(None, stem="b")
    write("", stem="c")
    dataset = load_yolo(root)
    assert [len(record.instances) for record in dataset.records] == [1, 0, 0]
    assert dataset.problems == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0 0.4", "zero-area-box"),
        ("0 1.5 0.5 0.2 0.4", "box-outside-image"),
        ("0 nan 0.5 0.2 0.4", "bad-box"),
        ("7 0.5 0.5 0.2 0.4", "unknown-category"),
        ("-1 0.5 0.5 0.2 0.4", "unknown-category"),
        ("1e300 0.5 0.5 0.2 0.4", "unknown-category"),
        ("0 0.5 0.5 1e300 0.4", "bad-box"),
        ("0 0 0 1e12 0 0 1e12", "bad-polygon"),
        ("0 0.5 0.5", "broken-record"),
        ("cat 0.5 0.5 0.2 0.4", "broken-record"),
        ("0.5 0.5 0.5 0.2 0.4", "broken-record"),
        ("0 0.5 0.5 0.2 0.4 0.3 0.3 0.3", "bad-polygon"),
    ],
)
def test_bad_lines_are_skipped_and_reported(write, problem_kinds, line, kind):
    dataset = load_yolo(write(f"{BOX}\n\n{line}\n"), class_names=["cat", "dog"])
    assert len(dataset.records[0].instances) == 1 and problem_kinds(dataset) == [kind]


def test_a_class_beyond_measure_is_none_where_classes_have_no_names(write, problem_kinds):
    dataset = load_yolo(write(f"{BOX}\n1e9 0.5 0.5 0.2 0.4\n"))
    assert len(dataset.class_names) < 10 and problem_kinds(dataset) == ["unknown-category"]


@pytest.mark.parametrize("names", ["{1000000000: cat}", "{cat: 0}", "{-1: cat}"])
def test_names_must_have_numbers_of_classes(write, names):
    root = write(BOX)
    (root / "data.yaml").write_text(f"train: images/train\nnames: {names}\n")
    with pytest.raises(ValueError, match=r"`names` of .*data\.yaml"):
        load_yolo(root)


def test_bad_pictures_are_skipped_and_reported(write, problem_kinds):
    root = write(BOX)
    (root / "images" / "train" / "b.jpg").write_text("no picture")
    (root / "images" / "train" / "list.txt").write_text("a.jpg\nb.jpg\ngone.jpg\n")
    (root / "data.yaml").write_text("train: images/train/list.txt\nnames: [cat]\n")
    dataset = load_yolo(root)
    assert len(dataset) == 1
    assert problem_kinds(dataset) == ["missing-image", "unreadable-image"]


@pytest.mark.parametrize("text", ["[1, 2", "5", "names: [cat]"])
def test_a_broken_data_yaml_is_an_error_that_names_it(write, text):
    root = write(BOX)
    (root / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"data\.yaml"):
        load_yolo(root)


def test_a_folder_without_pictures_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=f"no pictures in .*{tmp_path.name}"):
        load_yolo(tmp_path)
