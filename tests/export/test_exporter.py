"""What `export` checks, and that nothing half-written stays."""

import errno
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from kmrcnn.export import FORMATS, export, metadata
from tests.conftest import ROOT
from tests.export import stand_in
from tests.tiny import tiny_model

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(autouse=True)
def stand_in_format(monkeypatch):
    stand_in.register(monkeypatch)
    monkeypatch.setattr(stand_in, "during_write", [])


def write(model, path, **options):
    return export(model, path, **({"format": stand_in.NAME, "image_size": SIZE} | options))


def fail(error):
    def happens():
        raise error

    stand_in.during_write.append(happens)


def test_folder_holds_the_files_and_the_metadata(model, tmp_path):
    path = write(model, tmp_path / "above" / "model", score_threshold=0.3, max_detections=5)
    assert path == tmp_path / "above" / "model"
    assert sorted(os.listdir(path)) == ["first_half", "metadata.json", "model.txt"]
    written = metadata.read(path)
    assert (written["image_size"], written["batch_size"]) == ([64, 96], 1)
    assert (written["score_threshold"], written["max_detections"]) == (0.3, 5)
    assert written["config"]["box"]["score_threshold"] == 0.3
    assert set(written["files"]) == {"first_half", "model.txt"}
    assert written["weights_sha256"] == metadata.weights_sha256(model)


def test_the_canvas_is_the_model_s_where_none_is_given(model, tmp_path):
    assert metadata.read(write(model, tmp_path / "m", image_size=None))["image_size"] == [96, 160]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"format": "onxx"}, "`format` must be one of .*'onnx'.* Received: 'onxx'"),
        ({"precision": "float64"}, "`precision` of stand_in must be one of .*'float64'"),
        ({"image_size": (60, 96)}, "`image_size` must be multiples of 32"),
        ({"image_size": 64}, "`image_size` must be .height, width."),
        ({"batch_size": 0}, "`batch_size`"),
        ({"score_threshold": 2.0}, "`score_threshold`"),
        ({"paste_masks": True}, "`paste_masks` is for saved_model"),
        ({"custom_op": True}, "`custom_op` is for saved_model"),
        ({"version": 2}, "`version` is for saved_model"),
        ({"precision": "int8"}, "needs `calibration_images`"),
        ({"calibration_images": "photos"}, "`calibration_images` are for precision='int8'"),
        ({"format": "saved_model"}, "any size. Received: `image_size`"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write(model, tmp_path / "model", **options)
    assert os.listdir(tmp_path) == []


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`model` must be a kmrcnn model. Received: str"):
        write("model.keras", tmp_path / "model")


def test_missing_package_is_named(model, tmp_path, monkeypatch):
    def lacks_a_package(*_):
        from kmrcnn.export.requirements import require

        require("no_such_package")

    monkeypatch.setattr(stand_in, "write", lacks_a_package)
    with pytest.raises(ImportError, match="no_such_package: pip install"):
        write(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_an_artefact_is_replaced_on_demand_only(model, tmp_path):
    path = write(model, tmp_path / "model")
    before = (path / "model.txt").read_text()
    with pytest.raises(FileExistsError, match="exists; --overwrite .overwrite=True. replaces it"):
        write(model, path)
    assert (path / "model.txt").read_text() == before
    write(model, path, overwrite=True)
    assert (path / "model.txt").read_text() != before
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_of_other_things_is_never_replaced(model, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "child.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="holds other things than an exported model"):
        write(model, tmp_path / "photos", overwrite=True)
    with pytest.raises(FileExistsError, match="it is not a folder"):
        write(model, tmp_path / "photos" / "child.jpg", overwrite=True)
    assert (tmp_path / "photos" / "child.jpg").read_bytes() == b"precious"
    (tmp_path / "empty").mkdir()
    assert write(model, tmp_path / "empty", overwrite=True).is_dir()


FAILURES = {
    "disk full": OSError(errno.ENOSPC, "No space left on device"),
    "interrupted": KeyboardInterrupt(),
    "TensorFlow's writer": tf.errors.ResourceExhaustedError(
        None, None, "{{function_node __wrapped__SaveV2}} variables; No space left on device"
    ),
    "a mistake": RuntimeError("wrong graph"),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("exists", [False, True])
def test_failure_in_the_middle_leaves_nothing_behind(model, tmp_path, name, exists):
    path = tmp_path / "model"
    before = []
    if exists:
        write(model, path)
        before = [(path / "model.txt").read_text()]
    fail(FAILURES[name])
    with pytest.raises((OSError, KeyboardInterrupt, RuntimeError)) as caught:
        write(model, path, overwrite=True)
    assert os.listdir(tmp_path) == (["model"] if exists else [])
    assert [(path / "model.txt").read_text()] == before if exists else not path.exists()
    if name in ("disk full", "TensorFlow's writer"):
        assert isinstance(caught.value, OSError)
        assert "No space left on device" in str(caught.value) and str(path) in str(caught.value)
        assert "function_node" not in str(caught.value)


ON_A_FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))  # bytes of a file
from kmrcnn.cli.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of a process")
def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path):
    """A SavedModel whose variables TensorFlow cannot write to their end."""
    arguments = ["export", "mask_rcnn_r18_coins", "--weights", "bundled"]
    arguments += ["--format", "saved_model", "--output", str(tmp_path / "model")]
    done = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert message.endswith(f"{str(tmp_path / 'model')!r} could not be written: File too large")
    assert os.listdir(tmp_path) == []


def test_unwritable_places_are_named(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="model' cannot be made: .*file' is a file"):
        write(model, tmp_path / "file" / "model")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_permission_are_named(model, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(PermissionError, match="locked"):
        write(model, tmp_path / "locked" / "model")


def test_every_format_names_its_module():
    assert {"saved_model", "onnx", "tensorrt", "tflite"} <= set(FORMATS)
    assert all("float32" in format.precisions for format in FORMATS.values())
