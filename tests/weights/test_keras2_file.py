import h5py
import numpy as np
import pytest

from kmrcnn.weights.keras2_file import is_keras2_file, read_keras2_file
from kmrcnn.weights.tensor_file import file_kind, read_tensors
from tests.weights.matterport_file import random_layers, write_file

LAYERS = random_layers(3, blocks=(1, 1, 1, 1))
KEYS = {f"{layer}/{word}" for layer, words in LAYERS.items() for word in words}


@pytest.mark.parametrize(
    "options",
    [{}, {"whole_model": True}, {"suffix": "_1"}, {"chunks": 3}],
    ids=["weights", "whole model", "built twice", "long list"],
)
def test_weights_come_by_layer_and_word(tmp_path, options):
    path = write_file(tmp_path / "a.h5", LAYERS, **options)
    assert file_kind(path) == "keras2"
    weights = read_tensors(path)
    assert set(weights) == KEYS
    for key, array in weights.items():
        layer, _, word = key.rpartition("/")
        np.testing.assert_array_equal(array, LAYERS[layer][word], err_msg=key)
        assert array.dtype == np.float32


def test_files_of_keras_3_are_not_of_keras_2(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save_weights(tmp_path / "a.weights.h5")
    assert not is_keras2_file(tmp_path / "a.weights.h5")
    assert file_kind(tmp_path / "a.weights.h5") == "keras_weights"
    with pytest.raises(ValueError, match="layer_names"):
        read_keras2_file(tmp_path / "a.weights.h5")


def test_damaged_and_strange_files_are_named(tmp_path):
    whole = write_file(tmp_path / "a.h5", LAYERS).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    assert not is_keras2_file(tmp_path / "half.h5")
    with pytest.raises(ValueError, match="half.h5"):
        read_keras2_file(tmp_path / "half.h5")
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0"]
        group.create_dataset("conv1/kernel:0", data=b"text")
    with pytest.raises(ValueError, match="not of numbers"):
        read_keras2_file(tmp_path / "text.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["conv1"]["conv1/kernel:0"]
    with pytest.raises(ValueError, match="a.h5"):
        read_keras2_file(tmp_path / "a.h5")
