"""How the learning rate goes over a run: a linear warm-up, then steps down or half a cosine.

The count is of updates: with gradient accumulation several steps make one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import ops

from kmrcnn.config.train_schema import OptimizerConfig, ScheduleConfig


class _WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from `warmup_factor` of the rate over `warmup_updates`; then, and multiplied
    with it, what `after_warmup` of a subclass gives.
    """

    def __init__(self, learning_rate: float, warmup_updates: int, warmup_factor: float):
        super().__init__()
        self.learning_rate = learning_rate
        self.warmup_updates = warmup_updates
        self.warmup_factor = warmup_factor

    def __call__(self, step):
        step = ops.cast(step, "float32")
        progress = ops.minimum(step / max(self.warmup_updates, 1), 1.0)
        rise = self.warmup_factor + (1.0 - self.warmup_factor) * progress
        rise = rise if self.warmup_updates > 0 else 1.0
        return self.learning_rate * rise * self.after_warmup(step)

    def after_warmup(self, step):
        """Share of the learning rate at `step`, () float32."""
        raise NotImplementedError

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "warmup_updates": self.warmup_updates,
            "warmup_factor": self.warmup_factor,
        }


@keras.saving.register_keras_serializable("kmrcnn")
class WarmUpMultiStep(_WarmUp):
    """Warm-up, then down to `gamma` of the rate at each of `boundaries` (Detectron2's
    WarmupMultiStepLR).

    Args:
        learning_rate: Between the warm-up and the first boundary.
        boundaries: Updates at which the rate drops, ascending.
        gamma: The rate's share that is left at each.
        warmup_updates: Length of the warm-up; 0: none.
        warmup_factor: Share of the rate that the warm-up starts from.
    """

    def __init__(
        self,
        learning_rate: float,
        boundaries: Sequence[int],
        gamma: float = 0.1,
        warmup_updates: int = 0,
        warmup_factor: float = 0.001,
    ):
        super().__init__(learning_rate, warmup_updates, warmup_factor)
        self.boundaries = tuple(boundaries)
        self.gamma = gamma

    def after_warmup(self, step):
        share = ops.ones((), "float32")
        for boundary in self.boundaries:
            share = share * ops.where(step >= boundary, self.gamma, 1.0)
        return share

    def get_config(self):
        return super().get_config() | {"boundaries": list(self.boundaries), "gamma": self.gamma}


@keras.saving.register_keras_serializable("kmrcnn")
class WarmUpCosine(_WarmUp):
    """Warm-up, then half a cosine down to `final_factor` of the rate (Loshchilov & Hutter 2017,
    equation 5, without restarts).

    Args:
        learning_rate: At the end of the warm-up.
        total_updates: Length of the run, warm-up included; the rate stays where it is after that.
        final_factor: Share of the rate at the end.
        warmup_updates: Length of the warm-up; 0: none.
        warmup_factor: Share of the rate that the warm-up starts from.
    """

    def __init__(
        self,
        learning_rate: float,
        total_updates: int,
        final_factor: float = 0.0,
        warmup_updates: int = 0,
        warmup_factor: float = 0.001,
    ):
        super().__init__(learning_rate, warmup_updates, warmup_factor)
        self.total_updates = total_updates
        self.final_factor = final_factor

    def after_warmup(self, step):
        length = max(self.total_updates - self.warmup_updates, 1)
        progress = ops.clip((step - self.warmup_updates) / length, 0.0, 1.0)
        share = 0.5 * (1.0 + ops.cos(math.pi * progress))
        return self.final_factor + (1.0 - self.final_factor) * share

    def get_config(self):
        return super().get_config() | {
            "total_updates": self.total_updates,
            "final_factor": self.final_factor,
        }


def make_schedule(
    config: ScheduleConfig, learning_rate: float, epochs: int, updates_per_epoch: float
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of a run.

    Args:
        config: Which one, and its shape.
        learning_rate: The highest rate; see `scaled_learning_rate`.
        epochs: Length of the run.
        updates_per_epoch: Steps per epoch over the steps accumulated into one update.

    Returns:
        A schedule; for a constant rate without warm-up the rate itself, which Keras's
        `ReduceLROnPlateau` can change.
    """
    total = max(round(epochs * updates_per_epoch), 1)
    warmup = {
        "warmup_updates": min(config.warmup_updates, total // 10),
        "warmup_factor": config.warmup_factor,
    }
    if config.name == "cosine":
        return WarmUpCosine(learning_rate, total, config.final_factor, **warmup)
    if config.name == "constant" and warmup["warmup_updates"] == 0:
        return learning_rate
    milestones = config.milestones if config.name == "multi_step" else ()
    boundaries = [round(epoch * updates_per_epoch) for epoch in milestones]
    return WarmUpMultiStep(learning_rate, boundaries, config.gamma, **warmup)


def scaled_learning_rate(config: OptimizerConfig, batch_size: int) -> float:
    """The configured rate, scaled linearly with the pictures per update (Goyal et al. 2017).

    Args:
        config: Its `learning_rate` holds for `base_batch_size` pictures.
        batch_size: Pictures per step over all devices; `config.accumulation` steps make an update.
    """
    return config.learning_rate * batch_size * config.accumulation / config.base_batch_size
