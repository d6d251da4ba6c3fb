import dataclasses
import functools
import pickle

import numpy as np
import pytest

from kmrcnn.config.schema import ModelConfig
from kmrcnn.weights.assign import Report, load_weights
from kmrcnn.weights.canonical import canonical_weights
from kmrcnn.weights.name_map import find_keys
from kmrcnn.weights.sources import SOURCES

build = pytest.importorskip("kmrcnn.models.build")

STEM = "backbone/stem/kernel"
LOGITS = "roi_heads/box/class_logits/bias"
DELTAS = "roi_heads/box/box_deltas/bias"
MASKS = "roi_heads/mask/logits/bias"
CLASS_LAYERS = {
    f"roi_heads/{layer}/{word}"
    for layer in ("box/class_logits", "box/box_deltas", "mask/logits")
    for word in ("kernel", "bias")
}


def _config(names=("cat", "dog", "cow"), channels=3, num_classes=None, **parts):
    base = ModelConfig()
    config = ModelConfig(
        num_classes=num_classes or len(names),
        class_names=names,
        input=dataclasses.replace(
            base.input, channels=channels, mean=(0.0,) * channels, std=(1.0,) * channels
        ),
        backbone=dataclasses.replace(
            base.backbone, name="resnet18", blocks=(1, 1, 1, 1), stem_channels=4, res2_channels=4
        ),
        neck=dataclasses.replace(base.neck, channels=4),
        box=dataclasses.replace(base.box, pooled_size=3, fc_channels=5),
        mask=dataclasses.replace(base.mask, pooled_size=4, num_convs=1, channels=4),
    )
    return dataclasses.replace(config, **parts)


@functools.cache
def _model(config):
    return build.build_model(config)


def _fresh(config, value=-1.0):
    """A model all of whose weights are `value`."""
    model = _model(config)
    for variable in model.weights:
        variable.assign(np.full(variable.shape, value, np.float32))
    return model


def _arrays(config, expected_shapes):
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }


def _write(path, arrays, config, to_torch, source="detectron2"):
    tensors = {
        find_keys(name, config, SOURCES[source])[1][0]: (
            array if source == "native" else to_torch(name, array, config, source == "torchvision")
        )
        for name, array in arrays.items()
    }
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        path.write_bytes(pickle.dumps({"model": tensors}, protocol=2))
    return path


def _values(model):
    return {name: np.asarray(v) for name, v in canonical_weights(model).items()}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"mask": None},
        {
            "backbone": dataclasses.replace(
                _config().backbone, name="resnet50", groups=2, width_per_group=2, res2_channels=8
            )
        },
        {
            "backbone": dataclasses.replace(
                _config().backbone, name="resnet50", width_per_group=4, norm="batch_norm"
            ),
            "neck": dataclasses.replace(_config().neck, norm="batch_norm"),
            "rpn": dataclasses.replace(_config().rpn, num_convs=2),
            "box": dataclasses.replace(_config().box, num_convs=2, num_fcs=1, norm="batch_norm"),
            "mask": dataclasses.replace(_config().mask, norm="batch_norm"),
        },
    ],
)
def test_the_model_has_the_expected_names_and_shapes(parts, expected_shapes):
    config = _config(**parts)
    named = canonical_weights(_model(config))
    assert {name: tuple(v.shape) for name, v in named.items()} == expected_shapes(config)


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
@pytest.mark.parametrize("source", ["torchvision", "detectron2", "native"])
def test_every_source_fills_the_model(tmp_path, source, suffix, expected_shapes, to_torch):
    config = _config()
    arrays = _arrays(config, expected_shapes)
    path = _write(tmp_path / f"a{suffix}", arrays, config, to_torch, source)
    model = _fresh(config)
    report = load_weights(model, path)
    for name, value in _values(model).items():
        np.testing.assert_array_equal(value, arrays[name], err_msg=name)
    assert sorted(report.loaded) == sorted(arrays) and report.format == source
    assert not (report.ignored or report.reinitialised or report.adapted)


def test_other_classes_stay_fresh(tmp_path, expected_shapes, to_torch):
    source = _config(names=None, num_classes=5)
    arrays = _arrays(source, expected_shapes)
    path = _write(tmp_path / "a.pkl", arrays, source, to_torch)
    model = _fresh(_config())
    report = load_weights(model, path)
    values = _values(model)
    assert set(report.reinitialised) == CLASS_LAYERS
    assert set(report.loaded) == set(values) - CLASS_LAYERS
    for name, value in values.items():
        expected = -1 if name in CLASS_LAYERS else arrays[name]
        np.testing.assert_array_equal(value, np.broadcast_to(expected, value.shape), name)


def test_classes_of_the_same_name_are_kept(tmp_path, expected_shapes, to_torch):
    source = _config(names=("dog", "N/A", "horse", "N/A", "cat"))
    arrays = _arrays(source, expected_shapes)
    path = _write(tmp_path / "a.pkl", arrays, source, to_torch, "torchvision")
    model = _fresh(_config(names=("cat", "N/A", "dog")))
    report = load_weights(model, path, class_names=source.class_names)
    values = _values(model)
    logits, deltas, masks = arrays[LOGITS], arrays[DELTAS], arrays[MASKS]
    np.testing.assert_array_equal(values[LOGITS], [logits[4], -1, logits[0], logits[5]])
    np.testing.assert_array_equal(values[DELTAS], [*deltas[16:20], -1, -1, -1, -1, *deltas[:4]])
    np.testing.assert_array_equal(values[MASKS], [masks[4], -1, masks[0]])
    kernel = arrays["roi_heads/mask/logits/kernel"]
    np.testing.assert_array_equal(
        values["roi_heads/mask/logits/kernel"][..., [0, 2]], kernel[..., [4, 0]]
    )
    assert len(report.adapted) == len(CLASS_LAYERS) and not report.reinitialised
    assert "2 of 3 classes kept by name" in report.adapted[0]


def test_same_names_in_another_order_are_reordered(tmp_path, expected_shapes, to_torch):
    source = _config(names=("dog", "cow", "cat"))
    arrays = _arrays(source, expected_shapes)
    path = _write(tmp_path / "a.pkl", arrays, source, to_torch)
    model = _fresh(_config(names=("cat", "dog", "cow")))
    load_weights(model, path, class_names=["dog", "cow", "cat"])
    np.testing.assert_array_equal(_values(model)[MASKS], arrays[MASKS][[2, 0, 1]])


def test_class_names_must_be_those_of_the_file(tmp_path, expected_shapes, to_torch):
    config = _config()
    path = _write(tmp_path / "a.pkl", _arrays(config, expected_shapes), config, to_torch)
    with pytest.raises(ValueError, match="3 classes of the file.*2 names"):
        load_weights(_fresh(config), path, class_names=["a", "b"])


@pytest.mark.parametrize("channels", [1, 4])
def test_image_channels_are_adapted(tmp_path, channels, expected_shapes, to_torch):
    arrays = _arrays(_config(), expected_shapes)
    path = _write(tmp_path / "a.pkl", arrays, _config(), to_torch)
    model = _fresh(_config(channels=channels))
    report = load_weights(model, path)
    kernel = arrays[STEM]
    if channels == 1:
        expected = kernel.sum(axis=2, keepdims=True)
    else:
        expected = kernel[:, :, [0, 1, 2, 0]] * 0.75
    np.testing.assert_allclose(_values(model)[STEM], expected, rtol=1e-5)
    assert [entry.partition(":")[0] for entry in report.adapted] == [STEM]
    assert STEM not in report.loaded


def test_a_file_that_does_not_fit_changes_nothing(tmp_path, expected_shapes, to_torch):
    config = _config()
    arrays = _arrays(config, expected_shapes)
    del arrays["roi_heads/mask/logits/bias"]
    path = _write(tmp_path / "torn.pkl", arrays, config, to_torch)
    model = _fresh(config)
    with pytest.raises(ValueError, match=r"torn\.pkl.*(?s:.)*roi_heads\.mask_head\.predictor"):
        load_weights(model, path)
    assert all((value == -1).all() for value in _values(model).values())


def test_format_can_be_given_and_is_checked(tmp_path, expected_shapes, to_torch):
    config = _config()
    path = _write(tmp_path / "a.pkl", _arrays(config, expected_shapes), config, to_torch)
    load_weights(_fresh(config), path, format="detectron2")
    with pytest.raises(ValueError, match="read as a torchvision file"):
        load_weights(_fresh(config), path, format="torchvision")
    with pytest.raises(ValueError, match="caffe"):
        load_weights(_fresh(config), path, format="caffe")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(values, .keras file, .weights.h5 file) of one model."""
    folder = tmp_path_factory.mktemp("saved")
    model = build.build_model(_config())
    rng = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(rng.standard_normal(variable.shape).astype(np.float32))
    model.save(folder / "a.keras")
    model.save_weights(folder / "a.weights.h5")
    return _values(model), folder / "a.keras", folder / "a.weights.h5"


@pytest.mark.parametrize("index", [1, 2])
def test_keras_files_fill_the_model(saved, index):
    model = _fresh(_config())
    report = load_weights(model, saved[index])
    for name, value in _values(model).items():
        np.testing.assert_array_equal(value, saved[0][name], err_msg=name)
    assert sorted(report.loaded) == sorted(saved[0])


@pytest.mark.parametrize("index", [1, 2])
def test_keras_files_serve_other_classes_too(saved, index):
    model = _fresh(_config(names=("dog", "fox")))
    names = ["cat", "dog", "cow"] if index == 2 else None  # a .keras file knows its own
    load_weights(model, saved[index], class_names=names)
    logits = saved[0][LOGITS]
    np.testing.assert_array_equal(_values(model)[LOGITS], [logits[1], -1, logits[3]])


def test_weights_file_of_other_classes_says_what_helps(saved):
    with pytest.raises(ValueError, match=r"a\.weights\.h5.*class_names"):
        load_weights(_fresh(_config(names=("dog", "fox"))), saved[2])


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(_fresh(_config()), tmp_path / "none.pth")


def test_report_reads_well():
    report = Report(
        "a.pth",
        "torchvision",
        loaded=["x"] * 7,
        ignored=["a.num_batches_tracked", "b.num_batches_tracked", "pixel_mean"],
        reinitialised=[f"layer{i}" for i in range(25)],
    )
    text = str(report)
    assert text.startswith("a.pth (torchvision): 7 weights loaded")
    assert "*.num_batches_tracked (2 times)" in text and "pixel_mean" in text
    assert "layer19" in text and "layer20" not in text and "5 more" in text
    assert "adapted" not in text
