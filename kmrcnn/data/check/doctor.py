"""The dataset doctor: reads a dataset, runs every check and gathers what they find."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.check.anchor_coverage import AnchorCoverage, check_coverage, measure_coverage
from kmrcnn.data.check.identifiers import (
    check_annotation_ids,
    check_category_gaps,
    check_image_ids,
)
from kmrcnn.data.check.images import check_equal_images, check_image
from kmrcnn.data.check.instances import check_instances
from kmrcnn.data.check.kinds import describe
from kmrcnn.data.check.probe import ImageProbe, find_equal_images, probe_images
from kmrcnn.data.check.reading import Annotations, read_annotations
from kmrcnn.data.check.statistics import Statistics, check_contents, count
from kmrcnn.data.records import Problem


@dataclass(frozen=True)
class Examination:
    """What the doctor looked at and found.

    Attributes:
        source: The dataset.
        annotations: What it holds.
        probes: One per record: its image file.
        equal_images: Indices of records whose files are equal, in groups.
        statistics: Counts.
        coverage: Fit of the anchors; None if it was not asked for, or there are no objects.
        problems: Everything found, faults and notes.
    """

    source: Path
    annotations: Annotations
    probes: list[ImageProbe]
    equal_images: list[list[int]]
    statistics: Statistics
    coverage: AnchorCoverage | None
    problems: list[Problem]

    @property
    def faults(self) -> list[Problem]:
        """The problems that are no mere notes."""
        return [problem for problem in self.problems if describe(problem.kind).is_fault]

    def by_kind(self) -> dict[str, list[Problem]]:
        """The problems of each kind, faults first, most frequent first."""
        groups: dict[str, list[Problem]] = {}
        for problem in self.problems:
            groups.setdefault(problem.kind, []).append(problem)
        order = sorted(groups, key=lambda kind: (not describe(kind).is_fault, -len(groups[kind])))
        return {kind: groups[kind] for kind in order}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "source": str(self.source),
            "is_clean": not self.faults,
            "counts": {kind: len(found) for kind, found in self.by_kind().items()},
            "problems": [
                {**asdict(problem), "is_fault": describe(problem.kind).is_fault}
                for problem in self.problems
            ],
            "statistics": asdict(self.statistics),
            "anchors": None if self.coverage is None else asdict(self.coverage),
        }


def examine(
    source: str | Path,
    images: str | Path | None = None,
    *,
    model: ModelConfig | None = None,
    decode: bool = False,
    progress: bool = False,
    **reading: Any,
) -> Examination:
    """Checks a dataset.

    Args:
        source: An annotation file, or a folder.
        images: The folder of its pictures; None looks at the usual places.
        model: Compare box sizes with the anchors of this model; None leaves that out.
        decode: Decode every picture fully, instead of reading its head and end.
        progress: Show bars.
        **reading: `format`, `split` and `class_names` of `open_dataset`.

    Raises:
        OSError: The source cannot be read.
        ValueError: Its format is not recognised, or there is no folder `images`.

    Example:
        >>> found = examine("balloon/annotations/instances_train.json")
        >>> [problem.message for problem in found.faults]
    """
    annotations = read_annotations(source, images, **reading)
    records, class_names = annotations.records, annotations.class_names
    probes = probe_images(records, decode, progress)
    equal_images = find_equal_images(records, probes, progress)
    sizes = annotated_sizes(annotations, probes)
    statistics = count(records, class_names)
    coverage = None if model is None else measure_coverage(records, sizes, class_names, model)
    problems = [
        *_check_entries(annotations),
        *check_category_gaps(annotations.category_ids),
        *check_image_ids(records),
        *check_equal_images(records, equal_images),
        *_check_pictures(annotations, probes, sizes, progress),
        *check_contents(records, statistics),
        *([] if coverage is None else check_coverage(coverage)),
    ]
    problems += annotations.skipped(problems)
    return Examination(
        Path(source), annotations, probes, equal_images, statistics, coverage, problems
    )


def annotated_sizes(
    annotations: Annotations, probes: list[ImageProbe]
) -> list[tuple[int, int] | None]:
    """(height, width) of the frame in which each picture was annotated: as the file of annotations
    says, else as the picture's own file does.
    """
    return [
        probe.upright_size if record.size is None else tuple(record.size)
        for record, probe in zip(annotations.records, probes)
    ]


def _check_entries(annotations: Annotations) -> list[Problem]:
    """Checks that need a file's own entries; other loaders number the objects of each picture."""
    if annotations.raw is None:
        return []
    return annotations.raw.problems + check_annotation_ids(annotations.records)


def _check_pictures(
    annotations: Annotations,
    probes: list[ImageProbe],
    sizes: list[tuple[int, int] | None],
    progress: bool,
) -> list[Problem]:
    records, rules = annotations.records, annotations.mask_rules()
    problems = []
    rows = zip(records, probes, sizes)
    hidden = None if progress else True  # None: shown on a terminal only
    for record, probe, size in tqdm(rows, total=len(records), desc="objects", disable=hidden):
        problems += check_image(record, probe)
        problems += check_instances(record, size, rules)
    return problems
