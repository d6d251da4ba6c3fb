"""Which pictures make which batch: order, shares of a long-tailed set, orientation, workers.

Everything here is known before a picture is read, follows from (seed, epoch) alone, and is the same
on every worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kmrcnn.data.example import Example


class Draw(NamedTuple):
    """One picture of an epoch."""

    index: int  # in the dataset
    repeat: int  # how often it was drawn in this epoch before


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The batches of any epoch.

    Attributes:
        repeat_factors: (N,) mean number of times a picture is drawn in an epoch; 0 leaves it out.
        upright: (N,) bool, or None where batches may mix orientations.
        batch_size: Pictures per batch, over all workers.
        training: Shuffle, and leave out the last incomplete batch.
        seed: Of the order.
    """

    repeat_factors: np.ndarray
    upright: np.ndarray | None
    batch_size: int
    training: bool
    seed: int

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {self.batch_size}")
        if self.training and self.num_draws < self.batch_size:
            raise ValueError(
                "`batch_size` (over all workers) must not be above the number of pictures of an "
                f"epoch in training. Received: {self.batch_size}, {self.num_draws} pictures"
            )

    @property
    def num_draws(self) -> int:
        """Pictures of an epoch, before the last incomplete batch is left out."""
        return int(self.repeat_factors.sum() + 1e-6)

    @property
    def num_batches(self) -> int:
        """Batches of every epoch."""
        if self.training:
            return self.num_draws // self.batch_size
        return -(-self.num_draws // self.batch_size)

    def batches(self, epoch: int) -> list[list[Draw]]:
        """The draws of every batch of an epoch.

        Batches are of one orientation, but for the last, which may mix what is left of both, so
        that no picture is left out for its shape.
        """
        rng = np.random.default_rng((self.seed, epoch))
        draws = self._draws(rng)
        if self.training:  # what is left out is drawn before orientations count
            wanted = self.num_batches * self.batch_size
            draws = [draws[place] for place in rng.permutation(len(draws))[:wanted]]
        return self._grouped(draws)

    def _draws(self, rng: np.random.Generator) -> list[Draw]:
        whole = np.floor(self.repeat_factors)
        # Systematic sampling: a picture's fraction is its chance, and their number hardly varies.
        marks = np.floor(np.cumsum(self.repeat_factors - whole) + rng.random() + 1e-6)
        times = whole + np.diff(marks, prepend=0)
        return [Draw(i, r) for i, number in enumerate(times.astype(int)) for r in range(number)]

    def _grouped(self, draws: list[Draw]) -> list[list[Draw]]:
        batches: list[list[Draw]] = []
        waiting: tuple[list[Draw], list[Draw]] = ([], [])
        for draw in draws:
            group = waiting[0 if self.upright is None else int(self.upright[draw.index])]
            group.append(draw)
            if len(group) == self.batch_size:
                batches.append(group.copy())
                group.clear()
        rest = waiting[0] + waiting[1]
        return batches + [
            rest[i : i + self.batch_size] for i in range(0, len(rest), self.batch_size)
        ]


def repeat_factors(classes: Iterable[Sequence[int]], threshold: float) -> np.ndarray:
    """How often to draw each picture of a long-tailed set (Gupta et al. 2019, "LVIS", section 4).

    A class in a share f of the pictures has the factor max(1, sqrt(threshold / f)); a picture has
    the largest factor of its classes, and 1 without objects.

    Args:
        classes: Class numbers of the objects of each of N pictures.
        threshold: The share below which a class is rare, e.g. 0.001; 0 gives ones.

    Returns:
        (N,) float64, at least 1.
    """
    present = [np.unique(np.asarray(of_image, int)) for of_image in classes]
    images_with = np.bincount(np.concatenate([*present, np.zeros(0, int)]))
    share = np.maximum(images_with, 1) / max(len(present), 1)
    factors = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([factors[of_image].max(initial=1.0) for of_image in present], np.float64)


def classes_of(dataset: Sequence[Example]) -> list[Sequence[int]]:
    """Class numbers of the objects of each picture; pictures are read only if there are no
    `records`. Crowds do not count.
    """
    if hasattr(dataset, "records"):
        return [
            [one.class_index for one in record.instances if not one.is_crowd]
            for record in dataset.records
        ]
    return [example.classes[~example.is_crowd] for example in dataset]


def labelled_keypoints(dataset: Sequence[Example]) -> np.ndarray:
    """(N,) number of labelled keypoints of the objects of each picture, read as in `classes_of`."""
    if hasattr(dataset, "records"):
        points = [
            [one.keypoints for one in record.instances if one.keypoints is not None]
            for record in dataset.records
        ]
    else:
        points = [() if one.keypoints is None else one.keypoints for one in dataset]
    return np.array([sum((each[:, 2] > 0).sum() for each in of_image) for of_image in points], int)


def upright_images(dataset: Sequence[Example]) -> np.ndarray | None:
    """Whether each picture is higher than wide, (N,) bool; None for a dataset without `records`,
    which would have to be read for it.
    """
    if not hasattr(dataset, "records"):
        return None
    sizes = [record.read_size() for record in dataset.records]
    return np.array([height > width for height, width in sizes], bool)
