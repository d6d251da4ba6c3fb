"""Batches by the number of their step."""

import numpy as np
import pytest

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import InputConfig
from kmrcnn.train.training_batches import TrainingBatches, image_id
from tests.train.scenes import rectangles

INPUT = InputConfig(short_side=96, long_side=160)
DATA = DataConfig(slots=(4,), mask_crop_size=16, rotation=0.2, workers=1)


def batches(number=6, batch_size=2, **options) -> TrainingBatches:
    return TrainingBatches(rectangles(number), INPUT, DATA, batch_size, seed=3, **options)


def drawn(stream: TrainingBatches, step: int, number: int) -> list[dict]:
    return list(stream.from_step(step).take(number).as_numpy_iterator())


def test_every_pass_sees_every_picture_in_another_order():
    stream = batches()
    assert stream.steps_per_pass == 3
    orders = [
        np.concatenate([stream.image_ids(s) for s in range(3 * e, 3 * e + 3)]) for e in (0, 1)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == [f"scene-{i}" for i in range(6)]
    assert list(orders[0]) != list(orders[1])


@pytest.mark.parametrize("step", [0, 2, 3, 7])
def test_a_stream_taken_up_late_is_the_stream_from_there_on(step):
    whole, late = drawn(batches(), 0, step + 2), drawn(batches(), step, 2)
    for got, want in zip(late, whole[step:]):
        np.testing.assert_array_equal(got["images"], want["images"])
        np.testing.assert_array_equal(got["targets"]["masks"], want["targets"]["masks"])


def test_image_ids_are_those_of_the_batch():
    stream = batches()
    for step, batch in enumerate(drawn(stream, 0, 5)):
        assert stream.image_ids(step) == [f"scene-{i}" for i in batch["image_index"]]


def test_workers_share_the_batches_of_one():
    one = drawn(batches(batch_size=4), 0, 2)
    shares = [drawn(batches(batch_size=4, shard=(worker, 2)), 0, 2) for worker in range(2)]
    for step in range(2):
        together = np.concatenate([share[step]["images"] for share in shares])
        np.testing.assert_array_equal(together, one[step]["images"])


@pytest.mark.parametrize(
    "options,message",
    [({"batch_size": 7}, "number of pictures"), ({"batch_size": 3, "shard": (0, 2)}, "workers")],
)
def test_impossible_batch_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(**options)


def test_image_id_reads_records_rather_than_pictures():
    class Records:
        records = rectangles(2)

        def __getitem__(self, index):
            raise AssertionError("read a picture")

    assert image_id(Records(), 1) == "scene-1"
