"""From a dataset to the batches of `fit`."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from kmrcnn.config.data_schema import ColorConfig, DataConfig, KeypointDataConfig, ScaleJitterConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.data.pipeline import make_pipeline, steps_per_epoch
from kmrcnn.data.preprocess import to_network
from kmrcnn.data.targets import to_example
from tests.data.augment.painted import LEVEL, painted, pixels_under, require_agreement

PLAIN = DataConfig(horizontal_flip=0.0, slots=(4, 16), mask_crop_size=32)
LIVELY = DataConfig(
    vertical_flip=0.5,
    quarter_turn=0.5,
    rotation=0.3,
    crop="iou",
    copy_paste=0.5,
    color=ColorConfig(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, gray=0.2),
    short_sides=(32, 40, 48),
    mask_crop_size=32,
)
PLACES = [
    ((2, 3, 12, 15), (20, 30, 15, 25), (5, 40, 9, 20)),
    ((3, 3, 10, 10),),
    (),
    ((1, 1, 20, 20), (25, 25, 8, 8)),
    ((10, 20, 25, 30),),
]
DATASET = [painted(places, keypoints=False, image_id=i) for i, places in enumerate(PLACES)]


def input_config(**changes):
    return InputConfig(**{"short_side": 40, "long_side": 60, "pad_multiple": 32} | changes)


def pipeline(dataset=DATASET, config=PLAIN, batch_size=2, training=True, **options):
    frame = options.pop("frame", input_config())
    return make_pipeline(
        dataset, frame, config, batch_size=batch_size, training=training, **options
    )


def batches(*args, **options):
    return list(pipeline(*args, **options).as_numpy_iterator())


def same(one, other):
    """Whether two nested dicts of arrays are equal, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def indices(made):
    return [batch["image_index"].tolist() for batch in made]


def with_records(dataset):
    class Known(list):
        records = [
            SimpleNamespace(
                read_size=lambda size=example.size: size,
                instances=[SimpleNamespace(class_index=c, is_crowd=False) for c in example.classes],
            )
            for example in dataset
        ]

    return Known(dataset)


def test_shapes_and_types():
    batch = batches(training=False)[0]
    found = {
        name: (value.shape, value.dtype.name)
        for name, value in (batch | batch["targets"]).items()
        if name != "targets"
    }
    assert found == {
        "images": ((2, 64, 64, 3), "float32"),
        "image_sizes": ((2, 2), "int32"),
        "image_index": ((2,), "int32"),
        "boxes": ((2, 4, 4), "float32"),
        "classes": ((2, 4), "int32"),
        "valid": ((2, 4), "bool"),
        "masks": ((2, 4, 32, 32), "uint8"),
        "mask_windows": ((2, 4, 4), "float32"),
    }


def test_evaluation_has_every_picture_as_the_predictor_sees_it():
    frame = input_config(short_side=50, long_side=80)
    made = batches(training=False, frame=frame, config=LIVELY)
    assert indices(made) == [[0, 1], [2, 3], [4]]
    for batch in made:
        for image, size, index in zip(batch["images"], batch["image_sizes"], batch["image_index"]):
            expected = to_network(DATASET[index].image, frame)
            assert tuple(size) == expected.shape[:2] == (50, 75)
            np.testing.assert_array_equal(image[:50, :75], expected)
            assert not image[50:].any() and not image[:, 75:].any()


def test_crops_pasted_back_equal_the_full_masks():
    for batch in batches(training=False, config=PLAIN):
        for row, index in enumerate(batch["image_index"]):
            example = to_example(batch, row, input_config())
            require_agreement(example)
            assert example.image_id == index and len(example.boxes) == len(PLACES[index])
            order = example.classes
            np.testing.assert_array_equal(example.boxes, DATASET[index].boxes[order])
            np.testing.assert_array_equal(example.image, DATASET[index].image)


@pytest.mark.parametrize("training", [False, True])
def test_keypoints_lie_on_the_pixels_they_name(training):
    """Painted points are pixel centres less the offset that models of whole numbers add."""
    examples = [painted(places, image_id=i) for i, places in enumerate(PLACES)]
    for example in examples:
        example.keypoints[..., :2] -= 0.5 * (example.keypoints[..., 2:] > 0)
    config = dataclasses.replace(PLAIN, horizontal_flip=1.0, keypoints=KeypointDataConfig(3))
    for batch in batches(examples, config=config, training=training):
        assert batch["targets"]["keypoints"].shape[1:] == (4, 3, 3)
        for row in range(len(batch["images"])):
            example = to_example(batch, row, input_config())
            for point in (0, 1):
                levels = np.rint(pixels_under(example, point) / LEVEL)
                np.testing.assert_array_equal(levels, example.classes + 1)


@pytest.mark.parametrize("flips", [{"horizontal_flip": 1.0}, {"quarter_turn": 1.0}], ids=str)
def test_augmented_masks_follow_the_picture(flips):
    config = DataConfig(**{"horizontal_flip": 0.0, "mask_crop_size": 32} | flips)
    for epoch in range(3):
        for batch in batches(config=config, epoch=epoch):
            for row in range(2):
                require_agreement(to_example(batch, row, input_config()))


def test_unused_slots_are_empty():
    for batch in batches(config=LIVELY):
        targets = batch["targets"]
        for name, values in targets.items():
            assert not values[~targets["valid"]].any(), name


def test_negatives_stay():
    made = batches(epochs=6)
    rows = [
        (i, valid.sum()) for b in made for i, valid in zip(b["image_index"], b["targets"]["valid"])
    ]
    assert (2, 0) in rows and all((count == 0) == (index == 2) for index, count in rows)
    only = batches([DATASET[2]] * 2)
    assert only[0]["targets"]["boxes"].shape == (2, 4, 4) and not only[0]["targets"]["valid"].any()


def test_bgr():
    colourful = painted(keypoints=False)
    colourful.image[..., 2] = 7
    made = batches([colourful], batch_size=1, frame=input_config(channel_order="bgr"))[0]
    assert (made["images"][0, :40, :60, 0] == 7).all()
    example = to_example(made, 0, input_config(channel_order="bgr"))
    np.testing.assert_array_equal(example.image, colourful.image)


def test_same_batches_whatever_the_workers():
    one, other = (
        batches(config=dataclasses.replace(LIVELY, workers=workers), seed=3, epochs=3)
        for workers in (1, 5)
    )
    assert len(one) == len(other) == 6
    assert all(same(a, b) for a, b in zip(one, other))
    different = batches(config=LIVELY, seed=4, epochs=3)
    assert not all(same(a, b) for a, b in zip(one, different))


def test_epochs_can_be_entered_anywhere():
    whole = batches(config=LIVELY, epochs=3)
    assert not same(whole[0], whole[2])
    for epoch, step in ((1, 0), (1, 1), (2, 1)):
        rest = batches(config=LIVELY, epoch=epoch, epochs=3 - epoch, first_step=step)
        assert len(rest) == 6 - 2 * epoch - step
        assert all(same(a, b) for a, b in zip(whole[2 * epoch + step :], rest))
    endless = pipeline(config=LIVELY, epochs=None).take(6).as_numpy_iterator()
    assert all(same(a, b) for a, b in zip(whole, endless))


@pytest.mark.parametrize("workers", [2, 4])
def test_shards_are_the_parts_of_the_whole_batch(workers):
    dataset = DATASET * 4
    whole = batches(dataset, LIVELY, batch_size=4, epochs=2)
    parts = [
        batches(dataset, LIVELY, batch_size=4 // workers, epochs=2, shard=(worker, workers))
        for worker in range(workers)
    ]
    assert {len(part) for part in parts} == {len(whole)} == {10}
    for step, batch in enumerate(whole):
        together = np.concatenate([part[step]["image_index"] for part in parts])
        np.testing.assert_array_equal(together, batch["image_index"])
        sums = np.concatenate([part[step]["images"].sum((1, 2, 3)) for part in parts])
        np.testing.assert_allclose(sums, batch["images"].sum((1, 2, 3)), rtol=1e-5)


def test_shards_of_an_evaluation_share_the_rest():
    parts = [batches(batch_size=2, training=False, shard=(worker, 2)) for worker in (0, 1)]
    assert indices(parts[0]) == [[0, 1], [4]] and indices(parts[1]) == [[2, 3]]


def test_orientations_are_kept_apart():
    upright = [painted(((2, 3, 12, 15),), (60, 40), keypoints=False, image_id=i) for i in range(7)]
    dataset = with_records(DATASET * 2 + upright)
    for made in (batches(dataset, epochs=2), batches(dataset, training=False)):
        shapes = [tuple(batch["images"].shape[1:3]) for batch in made]
        sizes = [{tuple(size) for size in batch["image_sizes"].tolist()} for batch in made]
        assert sum(len(of_batch) > 1 for of_batch in sizes) <= 2  # the last of an epoch
        assert set(shapes) == {(64, 64)}
    mixed = batches(dataset, DataConfig(group_by_orientation=False), training=False)
    assert sum(indices(mixed), []) == list(range(17))


def test_rare_classes_are_repeated_with_other_augmentation():
    dataset = with_records([DATASET[1]] * 15 + [DATASET[0]])  # classes 1 and 2 in the last only
    config = DataConfig(repeat_threshold=1.0, color=ColorConfig(1.0, brightness=0.5))
    # sqrt(1 / (1/16)) = 4 draws
    assert steps_per_epoch(dataset, config, batch_size=1) == 19
    made = batches(dataset, config, batch_size=1)
    rare = [batch["images"] for batch in made if batch["image_index"] == 15]
    assert len(rare) == 4 and len({image.tobytes() for image in rare}) == 4


@pytest.mark.parametrize("least, wanted", [(0, {0, 1, 2, 3}), (1, {0, 1, 3}), (4, {0, 3})])
def test_pictures_of_few_keypoints_are_left_out_of_training(least, wanted):
    dataset = [painted(places, image_id=i) for i, places in enumerate(PLACES[:4])]  # 6, 2, 0, 4
    config = DataConfig(min_keypoints=least, keypoints=KeypointDataConfig(3), slots=(4,))
    drawn = sum(indices(batches(dataset, config, batch_size=1, epochs=2)), [])
    assert set(drawn) == wanted and len(drawn) == 2 * len(wanted)
    assert steps_per_epoch(dataset, config, batch_size=1) == len(wanted)
    assert steps_per_epoch(dataset, config, batch_size=1, training=False) == 4


def test_scale_jitter_makes_the_network_frame():
    config = DataConfig(scale_jitter=ScaleJitterConfig((64, 96), 0.5, 1.5))
    for batch in batches(config=config, epochs=2):
        assert batch["images"].shape == (2, 64, 96, 3)
        assert (batch["image_sizes"] == (64, 96)).all()


def test_multi_scale_draws_sizes():
    config = DataConfig(short_sides=(32, 40, 48))
    frame = input_config(long_side=200)
    sizes = [
        size[0] for b in batches(config=config, frame=frame, epochs=8) for size in b["image_sizes"]
    ]
    assert set(sizes) == {32, 40, 48}


def test_objects_beyond_the_slots_are_dropped_smallest_first():
    targets = batches([DATASET[0]], DataConfig(slots=(1, 2)), batch_size=1)[0]["targets"]
    areas = np.prod(targets["boxes"][0, :, 2:] - targets["boxes"][0, :, :2], axis=1)
    assert areas.tolist() == [375, 180]


@pytest.mark.parametrize("training, expected", [(True, 2), (False, 3)])
def test_length(training, expected):
    data = pipeline(training=training)
    assert data.cardinality().numpy() == expected == len(list(data))
    assert steps_per_epoch(DATASET, PLAIN, batch_size=2, training=training) == expected


def test_static_shapes_are_known():
    spec = pipeline().element_spec
    assert spec["images"].shape.as_list() == [2, None, None, 3]
    assert spec["targets"]["masks"].shape.as_list() == [2, None, 32, 32]
    assert spec["targets"]["boxes"].shape.as_list() == [2, None, 4]
    assert spec["image_sizes"].shape.as_list() == [2, 2]


def test_errors():
    with pytest.raises(ValueError, match="Received: 6, 5 pictures"):
        pipeline(batch_size=6)
    with pytest.raises(ValueError, match=r"Received: shard=\(2, 2\)"):
        pipeline(shard=(2, 2))
    with pytest.raises(ValueError, match="Received: epochs=2"):
        pipeline(training=False, epochs=2)
    with pytest.raises(Exception, match="must have the model's 1 channels"):
        batches(frame=InputConfig(channels=1, mean=(0.0,), std=(1.0,)))
    with pytest.raises(Exception, match="'no mask' has boxes but no masks"):
        batches([painted(masks=False, image_id="no mask")], batch_size=1)


@pytest.mark.realdata
def test_real_photographs(data_dir):
    from kmrcnn.data.datasets.coco import load_coco

    folder = data_dir / "coco_mini"
    dataset = load_coco(folder / "annotations" / "instances_val2017.json", folder / "val2017")
    frame = InputConfig(short_side=160, long_side=240)
    for config, training in ((DataConfig(), False), (LIVELY, True)):
        for batch in batches(dataset, config, batch_size=4, training=training, frame=frame):
            targets, sizes = batch["targets"], batch["image_sizes"]
            boxes = targets["boxes"][targets["valid"]]
            limits = np.repeat(sizes[:, None, ::-1], targets["valid"].shape[1], 1)
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes[:, 2:] <= limits[targets["valid"]] + 1e-3).all()
            assert targets["masks"][targets["valid"]].any(axis=(1, 2)).all()
