"""Which class of a model is which class of a dataset: by name."""

from __future__ import annotations

from collections.abc import Sequence


def match_classes(
    model_names: Sequence[str] | None,
    dataset_names: Sequence[str],
    num_classes: int | None = None,
    common_only: bool = False,
) -> list[int | None]:
    """Finds the dataset's class for each class of the model.

    A model may know more than the dataset: those classes map to None. What the dataset asks for and
    the model does not know is an error, because such a class would silently score 0.

    Args:
        model_names: Names of the model's classes; None means that classes correspond by number.
        dataset_names: Names of the dataset's classes.
        num_classes: Of the model; needed where it has no names.
        common_only: Accept classes that the model does not know.

    Returns:
        Index into `dataset_names`, or None, for each class of the model.

    Raises:
        ValueError: The classes differ; lists how.
    """
    if model_names is None:
        return _by_number(dataset_names, num_classes)
    positions = {name: index for index, name in enumerate(dataset_names)}
    unknown = [name for name in dataset_names if name not in set(model_names)]
    if unknown and (not common_only or len(unknown) == len(dataset_names)):
        extra = [name for name in model_names if name not in positions]
        raise ValueError(
            "The model does not know all classes of the dataset. "
            f"Only in the dataset: {_listing(unknown)}. Only in the model: {_listing(extra)}. "
            f"In both: {_listing([name for name in dataset_names if name not in unknown])}."
        )
    return [positions.get(name) for name in model_names]


def _by_number(dataset_names: Sequence[str], num_classes: int | None) -> list[int | None]:
    if num_classes is not None and num_classes != len(dataset_names):
        raise ValueError(
            f"The model has {num_classes} classes without names, the dataset has "
            f"{len(dataset_names)}: {_listing(dataset_names)}. Set `class_names` of the model."
        )
    return list(range(len(dataset_names)))


def _listing(names: Sequence[str], limit: int = 20) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more
