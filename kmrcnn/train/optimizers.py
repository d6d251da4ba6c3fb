"""From `OptimizerConfig` to a Keras optimizer: which weights decay, and what clipping sees.

Clipping, accumulation and the moving average of the weights are Keras's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from kmrcnn.config.train_schema import OptimizerConfig
from kmrcnn.train.averaged_gradients import AveragedGradients
from kmrcnn.train.sgd import MomentumSGD

NORM_WEIGHTS = ("gamma", "beta")  # scale and offset of every normalisation layer
BIASES = ("bias",)


@keras.saving.register_keras_serializable("kmrcnn")
class AdamW(AveragedGradients, keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov & Hutter 2019), which clips the gradient of the whole batch."""


def make_optimizer(
    config: OptimizerConfig, learning_rate: Any, variables: Iterable[keras.Variable]
) -> keras.optimizers.Optimizer:
    """The optimizer of a run.

    Args:
        config: Its `learning_rate` is not read here.
        learning_rate: A number or a schedule.
        variables: The model's variables, for the choice of those that do not decay.

    Call it in the scope of the strategy that will train the model.
    """
    common = {"learning_rate": learning_rate} | _clipping(config)
    if config.accumulation > 1:
        common |= {"gradient_accumulation_steps": config.accumulation}
    if config.ema_momentum is not None:
        common |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    optimizer = OPTIMIZERS[config.name](config, common)
    undecayed = [v for v in variables if v.name in undecayed_names(config)]
    optimizer.exclude_from_weight_decay(var_list=undecayed)
    return optimizer


def undecayed_names(config: OptimizerConfig) -> tuple[str, ...]:
    """Last parts of the paths of the weights without decay."""
    norms = () if config.decay_norms else NORM_WEIGHTS
    return norms if config.decay_biases else norms + BIASES


def _clipping(config: OptimizerConfig) -> dict[str, float]:
    """The thresholds as `AveragedGradients` wants them."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    names = ("global_clipnorm", "clipnorm", "clipvalue")
    given = {name: getattr(config, name) for name in names}
    return {name: value / replicas for name, value in given.items() if value is not None}


def _sgd(config: OptimizerConfig, common: dict[str, Any]) -> keras.optimizers.Optimizer:
    return MomentumSGD(momentum=config.momentum, l2=config.weight_decay, **common)


def _adamw(config: OptimizerConfig, common: dict[str, Any]) -> keras.optimizers.Optimizer:
    return AdamW(
        beta_1=config.beta_1, beta_2=config.beta_2, weight_decay=config.weight_decay, **common
    )


OPTIMIZERS = {"sgd": _sgd, "adamw": _adamw}
