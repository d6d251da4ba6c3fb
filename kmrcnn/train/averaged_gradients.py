"""Clipping under tf.distribute: of the gradient of the whole batch, not of each replica's part.

Keras clips before it adds the gradients of the replicas, so that a run on two devices would not be
the run on one.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class AveragedGradients:
    """Mixin for a Keras optimizer: replicas exchange gradients before they clip them.

    Every replica then holds the mean of the replicas' gradients, each of which is a share
    1 / replicas of that of the whole batch. So the thresholds have to be given as that share too;
    `make_optimizer` does so.
    """

    def apply(self, grads, trainable_variables=None):
        if self.global_clipnorm or self.clipnorm or self.clipvalue:
            grads = average_over_replicas(grads)
        return super().apply(grads, trainable_variables)


def average_over_replicas(gradients: list[Any]) -> list[Any]:
    """The mean over the replicas of each gradient; None stays None."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(gradients)
    known = [gradient for gradient in gradients if gradient is not None]
    means = iter(context.all_reduce(tf.distribute.ReduceOp.MEAN, known))
    return [None if gradient is None else next(means) for gradient in gradients]
