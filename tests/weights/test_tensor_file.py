import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.weights.tensor_file import file_kind, read_tensors

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TENSORS = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.zeros(2, np.float32)}


def _pickle(path, value):
    path.write_bytes(pickle.dumps(value, protocol=2))
    return path


def test_kind_is_told_from_content_not_from_the_name(tmp_path):
    wrong = tmp_path / "weights.h5"
    for name in ("torch_zip.pth", "torch_legacy.pth"):
        wrong.write_bytes((GOLDEN / name).read_bytes())
        assert file_kind(wrong) == "torch"
    assert file_kind(_pickle(wrong, TENSORS)) == "pickle"
    with wrong.open("wb") as file:
        np.savez(file, **TENSORS)
    assert file_kind(wrong) == "npz"
    wrong.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(8))
    assert file_kind(wrong) == "keras_weights"
    with zipfile.ZipFile(wrong, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")
    assert file_kind(wrong) == "keras_model"


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 torn"])
def test_what_is_no_weight_file_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.pth"):
        file_kind(path)


def test_an_archive_of_something_else_says_what_it_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("letter.txt", "dear")
    with pytest.raises(ValueError, match=r"letter\.txt"):
        file_kind(tmp_path / "a.zip")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"model": t, "__author__": "x", "optimizer": {"lr": 0.1}},
        lambda t: {"state_dict": t},
        lambda t: {"model": {f"module.{key}": value for key, value in t.items()}},
    ],
)
def test_weights_are_found_within_a_checkpoint(tmp_path, wrap):
    read = read_tensors(_pickle(tmp_path / "a.pkl", wrap(TENSORS)))
    assert list(read) == list(TENSORS)
    np.testing.assert_array_equal(read["a.weight"], TENSORS["a.weight"])


def test_npz_and_torch_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", **TENSORS)
    np.testing.assert_array_equal(read_tensors(tmp_path / "a.npz")["a.bias"], TENSORS["a.bias"])
    assert "plain" in read_tensors(GOLDEN / "torch_zip.pth")


def test_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz"):
        read_tensors(tmp_path / "a.npz")


@pytest.mark.parametrize("value", [[1, 2], {"blobs": TENSORS}, {"epoch": 3}, {1: np.ones(2)}])
def test_without_named_tensors_it_is_an_error(tmp_path, value):
    with pytest.raises(ValueError, match=r"a\.pkl"):
        read_tensors(_pickle(tmp_path / "a.pkl", value))
