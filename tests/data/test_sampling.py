"""Which pictures make which batch."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kmrcnn.data.records import AnnotatedImages, Instance, Record
from kmrcnn.data.sampling import (
    BatchPlan,
    classes_of,
    labelled_keypoints,
    repeat_factors,
    upright_images,
)
from tests.data.augment.painted import painted


def plan(number=10, batch_size=3, upright=None, training=True, seed=0, factors=None):
    factors = np.ones(number) if factors is None else np.asarray(factors, float)
    return BatchPlan(factors, upright, batch_size, training, seed)


def indices(batches):
    return [[draw.index for draw in batch] for batch in batches]


def test_training_epochs_are_reproducible_permutations():
    epochs = [plan().batches(epoch) for epoch in range(4)]
    assert epochs == [plan().batches(epoch) for epoch in range(4)]
    assert len({str(epoch) for epoch in epochs}) == 4
    assert plan(seed=1).batches(0) != epochs[0]
    for epoch in map(indices, epochs):
        assert [len(batch) for batch in epoch] == [3, 3, 3] and len(set(sum(epoch, []))) == 9


def test_evaluation_keeps_the_order_and_the_rest():
    assert indices(plan(training=False).batches(0)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert plan(training=False).num_batches == 4 and plan().num_batches == 3


def test_batches_are_of_one_orientation_but_for_the_rest():
    upright = np.arange(50) % 3 == 0
    for epoch in range(5):
        batches = indices(plan(50, 4, upright).batches(epoch))
        mixed = [batch for batch in batches if len(set(upright[batch])) > 1]
        assert len(batches) == 12 and len(mixed) <= 1
        assert len(set(sum(batches, []))) == 48


def test_few_upright_pictures_are_seen_all_the_same():
    seen = Counter()
    for epoch in range(20):
        seen.update(sum(indices(plan(9, 4, np.arange(9) == 0).batches(epoch)), []))
    assert seen[0] > 10


def test_factors_are_the_mean_number_of_draws():
    factors = [1, 1, 1.5, 1, 2.25, 1, 3]
    repeated = plan(batch_size=1, factors=factors)
    assert repeated.num_batches == repeated.num_draws == 10
    counts = Counter()
    for epoch in range(400):
        draws = sum(repeated.batches(epoch), [])
        assert len(draws) == 10 and len(set(draws)) == 10  # repeats are numbered
        counts.update(draw.index for draw in draws)
    means = np.array([counts[i] for i in range(7)]) / 400
    np.testing.assert_allclose(means, np.array(factors) * 10 / 10.75, rtol=0.12)


def test_repeat_factors_by_hand():
    classes = [[0], [0, 0], [0, 1], [0], []]  # class 0 in 4 of 5 pictures, class 1 in 1 of 5
    factors = repeat_factors(classes, 0.8)
    np.testing.assert_allclose(factors, [1, 1, 2, 1, 1])  # sqrt(0.8 / 0.2) = 2
    np.testing.assert_array_equal(repeat_factors(classes, 0.0), np.ones(5))
    np.testing.assert_array_equal(repeat_factors([[], []], 0.5), [1, 1])


def test_batch_size_is_checked():
    with pytest.raises(ValueError, match="Received: 11, 10 pictures"):
        plan(batch_size=11)
    with pytest.raises(ValueError, match="`batch_size` must be positive. Received: 0"):
        plan(batch_size=0)


def test_facts_from_examples():
    crowd = painted()
    crowd.is_crowd[1] = True
    assert [list(classes) for classes in classes_of([painted(), crowd])] == [[0, 1, 2], [0, 2]]
    assert upright_images([painted()]) is None


def test_labelled_keypoints_are_counted_with_and_without_records():
    examples = [painted(), painted(keypoints=False), painted(())]
    assert labelled_keypoints(examples).tolist() == [6, 0, 0]  # two of three of each object
    points = np.float32([[1, 1, 2], [0, 0, 0], [2, 2, 1]])
    box = 0, 0, 5, 5
    instances = [Instance(box, 0, None, keypoints=points), Instance(box, 0, None)]
    records = [Record("a", Path("a.png"), None, instances), Record("b", Path("b.png"), None, [])]
    dataset = AnnotatedImages(records, ("person",), keypoint_names=("a", "b", "c"))
    assert labelled_keypoints(dataset).tolist() == [2, 0]
