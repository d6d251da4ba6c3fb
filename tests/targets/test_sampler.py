"""Balanced random subsets."""

import keras
import numpy as np
import pytest

from kmrcnn.targets.sampler import sample


def masks(foreground, background, total=100, images=3):
    """Random disjoint masks with so many members in every image."""
    draw = np.random.default_rng(0)
    places = np.stack([draw.permutation(total) for _ in range(images)])
    return places < foreground, (places >= foreground) & (places < foreground + background)


def drawn(*arguments, seed=0):
    return [np.asarray(v) for v in sample(*arguments, keras.random.SeedGenerator(seed))]


@pytest.mark.parametrize(
    "available, want",  # of 20, at most 25 % foreground
    [
        ((50, 50), (5, 15)),
        ((2, 50), (2, 18)),
        ((50, 3), (5, 3)),
        ((0, 50), (0, 20)),
        ((3, 0), (3, 0)),
        ((0, 0), (0, 0)),
    ],
)
def test_counts(available, want):
    pools = masks(*available)
    for mask, pool, number in zip(drawn(*pools, 20, 0.25), pools, want):
        assert (mask.sum(axis=1) == number).all()
        assert not (mask & ~pool).any()


def test_everything_is_drawn_where_it_fits():
    pools = masks(10, 40)
    for mask, pool in zip(drawn(*pools, 256, 0.5), pools):
        np.testing.assert_array_equal(mask, pool)


def test_seed_decides_and_images_differ():
    pools = masks(50, 50)
    first, again, other = (drawn(*pools, 20, 0.5, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    full = np.ones((2, 100), bool)
    one, two = drawn(full, ~full, 20, 0.5)[0]
    assert not np.array_equal(one, two)


def test_every_candidate_has_the_same_chance():
    full = np.ones((2000, 10), bool)
    share = drawn(full, ~full, 4, 0.5)[0].mean(axis=0)
    np.testing.assert_allclose(share, 0.2, atol=0.04)
