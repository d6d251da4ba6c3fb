"""Stochastic gradient descent as PyTorch computes it, which the published recipes were tuned with.

With gradient g, weight w, decay d, momentum m, rate r:  g += d w;  v = m v + g;  w -= r v.
Keras's own SGD scales the gradient by the rate before it enters the velocity, so that a change of
the rate takes effect late, and decays outside the momentum, 1 / (1 - m) times weaker.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kmrcnn.train.averaged_gradients import AveragedGradients


@keras.saving.register_keras_serializable("kmrcnn")
class MomentumSGD(AveragedGradients, keras.optimizers.Optimizer):
    """Momentum with L2 decay through the gradient.

    Args:
        learning_rate: A number or a schedule.
        momentum: Share of the velocity that is kept.
        l2: Decay; `exclude_from_weight_decay` names the variables without it.
        name: Of the optimizer.
        **kwargs: Clipping, accumulation, moving average, loss scale: Keras's own arguments.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        l2: float = 0.0,
        name: str = "momentum_sgd",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.l2 = l2

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.velocities[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        if self.l2 and self._use_weight_decay(variable):
            gradient = gradient + ops.cast(self.l2, variable.dtype) * variable
        momentum = ops.cast(self.momentum, variable.dtype)
        self.assign(velocity, momentum * velocity + gradient)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * velocity)

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "l2": self.l2}
