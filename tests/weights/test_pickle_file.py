import os
import pickle

import numpy as np
import pytest

from kmrcnn.weights.pickle_file import read_pickle_file

MODEL = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "half": np.float16([1.5]),
    "int": np.int64([-3]),
    "bool": np.array([True, False]),
    "scalar": np.float32(2.5),
    "zero_d": np.array(7.0),
    "big_endian": np.arange(3, dtype=">f4"),
    "empty": np.empty((0, 4), np.float32),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_arrays_of_every_protocol_are_read(tmp_path, protocol, core):
    value = {"model": MODEL, "__author__": "someone", "steps": [1, 2.5, None, (b"raw", {3})]}
    pickled = pickle.dumps(value, protocol=protocol)
    if protocol < 4:  # names are lines of text: as another NumPy would have written them
        pickled = pickled.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickled)
    read = read_pickle_file(path)
    assert list(read["model"]) == list(MODEL)
    for key, expected in MODEL.items():
        np.testing.assert_array_equal(read["model"][key], expected, err_msg=key)
        assert read["model"][key].dtype == expected.dtype.newbyteorder("="), key
    assert read["__author__"] == "someone"
    assert read["steps"] == [1, 2.5, None, (b"raw", {3})]


def test_python_2_pickle_is_read_as_latin1(tmp_path):
    raw = np.float32([1.25, -8.5]).tobytes()
    (tmp_path / "two.pkl").write_bytes(
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + raw + b"tbs."
    )
    np.testing.assert_array_equal(read_pickle_file(tmp_path / "two.pkl")["w"], [1.25, -8.5])


class _Evil:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_is_refused_by_name_and_not_run(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"model": MODEL, "x": _Evil(tmp_path / "made")}, protocol=2))
    with pytest.raises(ValueError, match=r"evil\.pkl.*(posix|nt)\.mkdir.*refused"):
        read_pickle_file(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]),
        np.random.default_rng(0),
        np.ma.masked_array([1.0], [True]),
    ],
)
def test_what_is_not_a_plain_array_is_refused(tmp_path, value):
    path = tmp_path / "odd.pkl"
    path.write_bytes(pickle.dumps({"w": value}, protocol=2))
    with pytest.raises(ValueError, match=r"odd\.pkl"):
        read_pickle_file(path)


def test_encode_serves_latin1_only(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x03\x00\x00\x00abcX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(ValueError, match="rot13"):
        read_pickle_file(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_an_error_that_names_it(tmp_path, keep):
    whole = pickle.dumps({"model": MODEL}, protocol=2)
    path = tmp_path / "cut.pkl"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"cut\.pkl"):
        read_pickle_file(path)


def test_array_whose_bytes_do_not_fill_its_shape_is_an_error(tmp_path):
    pickled = pickle.dumps({"w": np.zeros(3, np.float32)}, protocol=2)
    path = tmp_path / "short.pkl"
    path.write_bytes(pickled.replace(b"K\x03\x85", b"K\x04\x85"))
    with pytest.raises(ValueError, match=r"short\.pkl"):
        read_pickle_file(path)
