import pytest

from kmrcnn.export.options import ExportOptions


@pytest.mark.parametrize(
    "name, value",
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("max_detections", -1),
        ("version", "1"),
        ("score_threshold", -0.1),
        ("score_threshold", float("nan")),
        ("score_threshold", "0.5"),
        ("nms_threshold", 1.1),
        ("image_size", 800),
        ("image_size", (800,)),
        ("image_size", (800, 0)),
        ("image_size", (800.0, 1333.0)),
        ("image_size", "ab"),
    ],
)
def test_wrong_values_are_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: "):
        ExportOptions(**{name: value})


def test_limits_are_allowed():
    options = ExportOptions(score_threshold=0, nms_threshold=1.0, batch_size=1, image_size=[1, 1])
    assert (options.score_threshold, options.nms_threshold) == (0, 1.0)
    assert (options.batch_size, tuple(options.image_size)) == (1, (1, 1))


def test_changes_of_detection_and_copies():
    options = ExportOptions(score_threshold=0.3, max_detections=7, precision="float16")
    changes = {"score_threshold": 0.3, "nms_threshold": None, "max_detections": 7}
    assert options.detection_changes() == changes
    other = options.replaced(image_size=(64, 96))
    assert (other.image_size, other.precision, options.image_size) == ((64, 96), "float16", None)
    with pytest.raises(ValueError, match="`batch_size`"):
        options.replaced(batch_size=0)
