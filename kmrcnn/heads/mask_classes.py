"""How the masks of the classes relate: each on its own, or in competition (He et al. 2017, table
2b).

Both answer with the logit of a single class's mask, whose sigmoid is its probability, so that
whoever decodes, averages or exports masks need not know which it was.
"""

from __future__ import annotations

from keras import ops

from kmrcnn.heads.mask_head import FCNMaskHead, MLPMaskHead
from kmrcnn.losses.mask import mask_loss, multinomial_mask_loss
from kmrcnn.structures.typing import Tensor

MaskHead = FCNMaskHead | MLPMaskHead


class IndependentClasses:
    """A sigmoid per pixel and class; only the mask of the RoI's class counts.

    Args:
        num_classes: K.
        class_agnostic: One mask for all classes.
    """

    def __init__(self, num_classes: int, class_agnostic: bool):
        self.num_channels = 1 if class_agnostic else num_classes

    def logits(self, head: MaskHead, x: Tensor, classes: Tensor, training=None) -> Tensor:
        """(N, M, M) of the classes (N,), from RoI features (N, P, P, C)."""
        return head(x, classes, training=training)

    def loss(
        self, head: MaskHead, x: Tensor, classes: Tensor, goals: Tensor, valid: Tensor, training
    ) -> Tensor:
        """Binary loss, scalar; `goals` are (N, M, M) in [0, 1], `valid` (N,) bool."""
        return mask_loss(self.logits(head, x, classes, training), goals, valid)

    def channels_used(self, head: MaskHead) -> int:
        """How many channels of the head are computed for a RoI."""
        return self.num_channels if head.computes_all else 1


class CompetingClasses:
    """A softmax per pixel over all classes and the background, as in semantic segmentation.

    Args:
        num_classes: K.
        class_agnostic: Must be False: one mask has nothing to compete with.
    """

    def __init__(self, num_classes: int, class_agnostic: bool):
        if class_agnostic:
            raise ValueError("Masks that compete must be of classes: `class_agnostic` is True.")
        self.num_channels = num_classes + 1  # the background is the last

    def logits(self, head: MaskHead, x: Tensor, classes: Tensor, training=None) -> Tensor:
        """(N, M, M) of the classes (N,), from RoI features (N, P, P, C)."""
        return one_against_rest(head(x, training=training), classes)

    def loss(
        self, head: MaskHead, x: Tensor, classes: Tensor, goals: Tensor, valid: Tensor, training
    ) -> Tensor:
        """Multinomial loss, scalar; `goals` are (N, M, M) in [0, 1], `valid` (N,) bool."""
        return multinomial_mask_loss(head(x, training=training), classes, goals, valid)

    def channels_used(self, head: MaskHead) -> int:
        """How many channels of the head are computed for a RoI: all that compete."""
        return self.num_channels


def one_against_rest(logits: Tensor, classes: Tensor) -> Tensor:
    """Logit whose sigmoid is the softmax's probability of one class.

    log(p / (1 - p)) = l_class - logsumexp of the others' l.

    Args:
        logits: (N, M, M, channels).
        classes: (N,) int32.

    Returns:
        (N, M, M).
    """
    chosen = ops.one_hot(classes, logits.shape[-1], dtype="bool")[:, None, None]
    lowest = ops.cast(-1e30, logits.dtype)
    one = ops.sum(ops.where(chosen, logits, 0.0), axis=-1)
    return one - ops.logsumexp(ops.where(chosen, lowest, logits), axis=-1)
