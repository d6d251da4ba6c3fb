"""Learning rates, by hand."""

import math

import keras
import pytest

from kmrcnn.config.train_schema import OptimizerConfig, ScheduleConfig
from kmrcnn.train.schedules import (
    WarmUpCosine,
    WarmUpMultiStep,
    make_schedule,
    scaled_learning_rate,
)

MULTI_STEP = WarmUpMultiStep(0.02, (60, 80), 0.1, warmup_updates=10, warmup_factor=0.1)
COSINE = WarmUpCosine(0.01, 110, 0.2, warmup_updates=10, warmup_factor=0.0)


@pytest.mark.parametrize(
    "step,rate",
    [
        (0, 0.002),
        (5, 0.011),  # half way from 0.002 to 0.02
        (10, 0.02),
        (59, 0.02),
        (60, 0.002),
        (79, 0.002),
        (80, 0.0002),
        (1000, 0.0002),
    ],
)
def test_multi_step(step, rate):
    assert float(MULTI_STEP(step)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    "step,rate",
    [
        (0, 0.0),
        (3, 0.003),
        (10, 0.01),
        (60, 0.01 * (0.2 + 0.8 * 0.5)),
        (35, 0.01 * (0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)),  # a quarter of the way
        (110, 0.002),
        (500, 0.002),
    ],
)
def test_cosine(step, rate):
    assert float(COSINE(step)) == pytest.approx(rate, rel=1e-5, abs=1e-9)


def test_no_warm_up_starts_at_the_full_rate():
    assert float(WarmUpMultiStep(0.5, (), warmup_updates=0)(0)) == 0.5
    assert float(WarmUpCosine(0.5, 10, warmup_updates=0)(0)) == 0.5


@pytest.mark.parametrize("schedule", [MULTI_STEP, COSINE], ids=["multi_step", "cosine"])
def test_schedules_survive_saving(schedule):
    saved = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(saved)
    assert [float(again(step)) for step in (0, 7, 70)] == [
        float(schedule(step)) for step in (0, 7, 70)
    ]


def test_milestones_are_epochs_and_count_updates():
    config = ScheduleConfig(milestones=(2.0, 2.5), warmup_updates=0)
    schedule = make_schedule(config, 1.0, epochs=3, updates_per_epoch=20)
    rates = [float(schedule(step)) for step in (39, 40, 49, 50)]
    assert rates == pytest.approx([1.0, 0.1, 0.1, 0.01])


def test_the_warm_up_takes_a_tenth_of_a_short_run_at_most():
    schedule = make_schedule(ScheduleConfig(warmup_updates=1000), 1.0, 10, updates_per_epoch=5)
    assert schedule.warmup_updates == 5
    assert make_schedule(ScheduleConfig(warmup_updates=4), 1.0, 10, 5).warmup_updates == 4


def test_a_constant_rate_is_a_number_that_callbacks_can_change():
    config = ScheduleConfig(name="constant", warmup_updates=0)
    assert make_schedule(config, 0.3, 10, 5) == 0.3
    warm = make_schedule(ScheduleConfig(name="constant", warmup_updates=5), 0.3, 10, 5)
    assert float(warm(5)) == float(warm(49)) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "batch_size,accumulation,rate", [(16, 1, 0.02), (2, 1, 0.0025), (4, 8, 0.04)]
)
def test_the_rate_scales_with_the_pictures_per_update(batch_size, accumulation, rate):
    config = OptimizerConfig(learning_rate=0.02, base_batch_size=16, accumulation=accumulation)
    assert scaled_learning_rate(config, batch_size) == pytest.approx(rate)
