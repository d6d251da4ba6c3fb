import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.weights.torch_file import read_torch_file

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
BASE = np.arange(24.0, dtype=np.float32).reshape(4, 6)
EXPECTED = {
    "plain": BASE,
    "strided": BASE[1:3, ::2],
    "transposed": BASE.T,
    "expanded": np.float32([[1, 2]] * 3),
    "scalar": np.float32(3.5),
    "empty": np.empty((0, 3), np.float32),
    "half": np.float16([0.5, -2]),
    "bfloat16": np.float32([1.5, -3, 2.0**100]),
    "double": np.float64([0.1]),
    "int64": np.int64([-1, 2**40]),
    "int32": np.int32([-7]),
    "int16": np.int16([-300]),
    "int8": np.int8([-5]),
    "uint8": np.uint8([200]),
    "uint16": np.uint16([60000]),
    "bool": np.array([True, False]),
    "complex": np.complex64([1 + 2j]),
    "parameter": np.float32([4, 5]),
}


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_every_tensor_of_a_sample_is_read(name):
    saved = read_torch_file(GOLDEN / name)
    assert list(saved["model"]) == list(EXPECTED)
    for key, expected in EXPECTED.items():
        np.testing.assert_array_equal(saved["model"][key], expected, err_msg=key)
        assert saved["model"][key].dtype == np.asarray(expected).dtype, key
    assert saved["epoch"] == 3
    assert saved["nested"] == [1, (2.5, "text"), {"size": (1, 2), "none": None, "set": {1}}]


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6, 0.99])
def test_truncated_file_is_an_error_that_names_it(tmp_path, name, keep):
    whole = (GOLDEN / name).read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match="cut.pth"):
        read_torch_file(path)


def test_flipped_byte_of_a_storage_is_noticed(tmp_path):
    raw = bytearray((GOLDEN / "torch_zip.pth").read_bytes())
    position = raw.find(BASE.tobytes())
    assert position > 0
    raw[position + 5] ^= 0xFF
    path = tmp_path / "flipped.pth"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"flipped\.pth.*CRC"):
        read_torch_file(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"hello", b"\x80\x02K\x01."])
def test_something_else_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other.pth"):
        read_torch_file(path)


def test_missing_file_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "none.pth")


class _Evil:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def _zip(path, pickled, **records):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, raw in records.items():
            archive.writestr(f"archive/{name}", raw)


def test_code_in_a_pickle_is_refused_by_name_and_not_run(tmp_path):
    for protocol in (2, 4):
        pickled = pickle.dumps({"weight": _Evil(tmp_path / "made")}, protocol=protocol)
        _zip(tmp_path / "evil.pth", pickled)
        with pytest.raises(ValueError, match=r"evil\.pth.*(posix|nt)\.mkdir.*refused"):
            read_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()


def test_code_in_a_legacy_file_is_refused_even_in_its_header(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(_Evil(tmp_path / "made"), protocol=2))
    with pytest.raises(ValueError, match=r"mkdir"):
        read_torch_file(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("module,name", [("builtins", "eval"), ("torch.nn", "Linear")])
def test_other_globals_are_refused(tmp_path, module, name):
    _zip(tmp_path / "a.pth", f"c{module}\n{name}\n.".encode())
    with pytest.raises(ValueError, match=rf"{module}\.{name}"):
        read_torch_file(tmp_path / "a.pth")


def _tensor_pickle(offset, size, stride, count=4):
    """Opcodes of {"w": _rebuild_tensor_v2(storage "0", offset, size, stride, False, None)}."""

    def number(n):
        return b"J" + int(n).to_bytes(4, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + number(count) + b"tQ"
    arguments = b"(" + storage + number(offset) + numbers(size) + numbers(stride) + b"\x89Nt"
    return b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


@pytest.mark.parametrize("order,code", [("little", "<f4"), ("big", ">f4"), (None, "<f4")])
def test_byte_order_is_respected(tmp_path, order, code):
    values = np.float32([1, 2, 3, 4])
    records = {"data/0": values.astype(code).tobytes()}
    if order:
        records["byteorder"] = order.encode()
    _zip(tmp_path / "a.pth", _tensor_pickle(0, (2, 2), (2, 1)), **records)
    weight = read_torch_file(tmp_path / "a.pth")["w"]
    np.testing.assert_array_equal(weight, values.reshape(2, 2))
    assert weight.dtype.isnative


@pytest.mark.parametrize(
    "offset,size,stride,count",
    [(1, (2, 2), (2, 1), 4), (0, (2,), (100,), 4), (-1, (2,), (1,), 4), (0, (2,), (-1,), 4)],
)
def test_tensor_outside_its_storage_is_an_error(tmp_path, offset, size, stride, count):
    raw = np.zeros(4, np.float32).tobytes()
    _zip(tmp_path / "a.pth", _tensor_pickle(offset, size, stride, count), **{"data/0": raw})
    with pytest.raises(ValueError, match=r"a\.pth"):
        read_torch_file(tmp_path / "a.pth")


def test_storage_of_another_length_is_an_error(tmp_path):
    _zip(tmp_path / "a.pth", _tensor_pickle(0, (4,), (1,), 4), **{"data/0": bytes(8)})
    with pytest.raises(ValueError, match="8 bytes"):
        read_torch_file(tmp_path / "a.pth")


def test_a_pickle_cannot_alter_the_reader(tmp_path):
    # BUILD on the function that GLOBAL gave: must not stick to what the next file gets.
    build = b"\x80\x02ctorch\nSize\n}U\x09_functionNsb."
    _zip(tmp_path / "a.pth", build)
    with pytest.raises(ValueError, match=r"a\.pth"):
        read_torch_file(tmp_path / "a.pth")
    assert read_torch_file(GOLDEN / "torch_zip.pth")["nested"][2]["size"] == (1, 2)
