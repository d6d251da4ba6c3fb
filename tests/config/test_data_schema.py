"""Settings of the training pipeline."""

import pytest

from kmrcnn.config.data_schema import ColorConfig, DataConfig, KeypointDataConfig, ScaleJitterConfig
from kmrcnn.config.from_dict import from_dict


def test_nested_yaml_mapping():
    config = from_dict(
        DataConfig,
        {
            "scale_jitter": {"size": [512, 640], "max_scale": 1.5},
            "color": {"hue": 0.1},
            "keypoints": {"number": 5, "flip_pairs": [[1, 2]]},
            "short_sides": [640, 800],
            "canvas_sizes": [[64, 96], [96, 64]],
        },
    )
    assert config.scale_jitter == ScaleJitterConfig((512, 640), 0.1, 1.5)
    assert config.color == ColorConfig(hue=0.1)
    assert config.keypoints == KeypointDataConfig(5, 0.5, ((1, 2),))
    assert config.canvas_sizes == ((64, 96), (96, 64))


def test_unknown_keys_are_named():
    with pytest.raises(ValueError, match="Did you mean `horizontal_flip`"):
        from_dict(DataConfig, {"horizontl_flip": 0.5})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"horizontal_flip": 1.5}, "`DataConfig.horizontal_flip` must be in"),
        ({"crop": "centre"}, "`DataConfig.crop` must be one of"),
        ({"crop_side": 0.0}, "`DataConfig.crop_side` must be positive"),
        ({"rotation": 90.0}, "in .0, pi. radians. Received: 90.0"),
        ({"slots": ()}, "`slots` must be ascending, positive"),
        ({"slots": (8, 4)}, "`slots` must be ascending, positive"),
        ({"short_sides": (0,)}, "`short_sides` must be positive"),
        ({"canvas_sizes": ((64, 0),)}, "`canvas_sizes` must be positive"),
        ({"mask_crop_size": 3}, "`mask_crop_size` must be >= 4"),
        ({"copy_paste": 0.5, "masks": False}, "`masks` must be true"),
        ({"workers": -1}, "workers=-1"),
        ({"min_keypoints": -1}, "min_keypoints=-1"),
    ],
    ids=str,
)
def test_values_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_parts_are_checked():
    with pytest.raises(ValueError, match=r"`color.hue` must be in \[0, 0.5\]"):
        ColorConfig(hue=0.6)
    with pytest.raises(ValueError, match="must not be above `max_scale`. Received: 3.0, 2.0"):
        ScaleJitterConfig(min_scale=3.0)
    with pytest.raises(ValueError, match=r"must be positive. Received: \(0, 5\)"):
        ScaleJitterConfig(size=(0, 5))
