"""Identifiers: images, annotations and categories that share one, and gaps in the numbering."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from kmrcnn.data.records import Problem, Record


def check_image_ids(records: Iterable[Record]) -> list[Problem]:
    """One problem for each image id that is used more than once."""
    counts = Counter(record.image_id for record in records)
    return [
        Problem("duplicate-image-id", f"{count} images have the id {image_id!r}", image_id)
        for image_id, count in counts.items()
        if count > 1
    ]


def check_annotation_ids(records: Iterable[Record]) -> list[Problem]:
    """One problem for each annotation id that is used more than once, at its second use."""
    counts: Counter = Counter()
    second_image = {}
    for record in records:
        for instance in record.instances:
            if instance.annotation_id is not None:
                counts[instance.annotation_id] += 1
                if counts[instance.annotation_id] == 2:
                    second_image[instance.annotation_id] = record.image_id
    return [
        Problem(
            "duplicate-annotation-id",
            f"{counts[annotation_id]} objects have the id {annotation_id!r}",
            image_id,
            annotation_id,
        )
        for annotation_id, image_id in second_image.items()
    ]


def check_category_gaps(category_ids: Sequence[int]) -> list[Problem]:
    """A note if the ids, sorted, leave some out; harmless unless they are taken for class
    indices.
    """
    ids = sorted(set(category_ids))
    gaps = [(low + 1, high - 1) for low, high in itertools.pairwise(ids) if high - low > 1]
    if not gaps:
        return []
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in gaps[:10]]
    listing = ", ".join(shown) + (", ..." if len(gaps) > 10 else "")
    message = f"the ids {ids[0]}-{ids[-1]} of {len(ids)} categories leave out {listing}"
    return [Problem("category-id-gap", message)]
