import pytest

from kmrcnn.eval.class_map import match_classes


@pytest.mark.parametrize(
    "model, dataset, expected",
    [
        (("cat", "dog"), ("cat", "dog"), [0, 1]),
        (("dog", "cat"), ("cat", "dog"), [1, 0]),
        (("dog", "owl", "cat"), ("cat", "dog"), [1, None, 0]),
        (None, ("cat", "dog"), [0, 1]),
    ],
)
def test_classes_are_matched_by_name(model, dataset, expected):
    assert match_classes(model, dataset) == expected


def test_what_the_model_does_not_know_is_listed():
    with pytest.raises(ValueError) as error:
        match_classes(("cat", "owl"), ("cat", "dog"))
    for part in ("Only in the dataset: dog.", "Only in the model: owl.", "In both: cat."):
        assert part in str(error.value)


def test_common_classes_can_be_enough():
    assert match_classes(("cat", "owl"), ("cat", "dog"), common_only=True) == [0, None]
    with pytest.raises(ValueError, match="In both: none"):
        match_classes(("owl",), ("cat", "dog"), common_only=True)


def test_numbers_must_agree_without_names():
    with pytest.raises(ValueError, match="3 classes without names, the dataset has 2: cat, dog"):
        match_classes(None, ("cat", "dog"), num_classes=3)
