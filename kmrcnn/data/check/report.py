"""What the doctor found, as text for people."""

from __future__ import annotations

from collections.abc import Iterable

from kmrcnn.data.check.anchor_coverage import THRESHOLDS, AnchorCoverage, Share
from kmrcnn.data.check.doctor import Examination
from kmrcnn.data.check.kinds import describe
from kmrcnn.data.check.statistics import QUANTILES, Statistics
from kmrcnn.data.records import Problem

EXAMPLES = 5  # of each kind
_BAR = 40  # characters of the longest bar
_CLASSES = 100  # listed at most


def report(found: Examination, model_name: str = "the model") -> str:
    """The whole report, several lines.

    Args:
        found: What the doctor found.
        model_name: Whose anchors were compared.
    """
    parts = [_headline(found), _histogram(found.statistics), _sizes(found.statistics)]
    if found.coverage is not None:
        parts.append(_anchors(found.coverage, model_name))
    groups = found.by_kind()
    faults = [kind for kind in groups if describe(kind).is_fault]
    notes = [kind for kind in groups if not describe(kind).is_fault]
    parts += ["\n".join(_problems(kind, groups[kind])) for kind in (*notes, *faults)]
    parts.append(_verdict(found, len(faults)))
    return "\n\n".join(parts)


def _headline(found: Examination) -> str:
    counts = found.statistics
    crowds = f", {counts.num_crowds} of them crowds" if counts.num_crowds else ""
    masks = f"{counts.num_masks} with a mask" if counts.num_masks else "boxes only"
    return (
        f"{found.source}: {_number(counts.num_images, 'image')}, "
        f"{_number(counts.num_instances, 'object')}{crowds} ({masks}), "
        f"{_number(len(counts.instances_of_class), 'class', 'classes')}"
    )


def _histogram(counts: Statistics) -> str:
    """Objects and images per class, with bars."""
    lines = ["objects and images of each class:"]
    present = [item for item in counts.instances_of_class.items() if item[1]]
    ordered = sorted(present, key=lambda item: -item[1])
    shown = ordered[:_CLASSES]
    width = max((len(name) for name, _ in shown), default=0)
    most = max((number for _, number in shown), default=0)
    for name, number in shown:
        bar = "#" * -(-_BAR * number // max(most, 1))
        line = f"  {name:<{width}} {number:>7} {counts.images_of_class[name]:>7}  {bar}"
        lines.append(line.rstrip())
    if len(ordered) > len(shown):
        lines.append(f"  ... and {len(ordered) - len(shown)} classes more")
    absent = len(counts.instances_of_class) - len(present)
    if absent:
        lines.append(f"  no objects of {_number(absent, 'class', 'classes')}")
    return "\n".join(lines)


def _sizes(counts: Statistics) -> str:
    total = max(sum(counts.instances_of_size.values()), 1)
    names = ", ".join(
        f"{name} {number} ({number / total:.0%})"
        for name, number in counts.instances_of_size.items()
    )
    lines = [
        " " * 20 + "".join(f"{_quantile_name(quantile):>9}" for quantile in QUANTILES),
        _row("objects per image", counts.instances_per_image),
        _row("box side, px", counts.box_sides),
        f"sizes of boxes: {names or 'none'} (small < 32 x 32 px, large >= 96 x 96 px)",
    ]
    return "\n".join(lines)


def _anchors(coverage: AnchorCoverage, model_name: str) -> str:
    low, middle, high = coverage.network_sides
    lines = [
        f"objects that an anchor of {model_name} fits; box sides there {low:.0f}, {middle:.0f}, "
        f"{high:.0f} px (5, 50, 95 %):",
        " " * 20 + f"{'objects':>9}" + "".join(f"{f'IoU>={t}':>9}" for t in THRESHOLDS),
        _share_row("all", coverage.total),
        *(_share_row(name, share) for name, share in coverage.by_size.items()),
        *(_share_row(name, share) for name, share in _worst(coverage.by_class)),
    ]
    return "\n".join(lines)


def _worst(by_class: dict[str, Share]) -> list[tuple[str, Share]]:
    """The classes, those that fit worst first, at most ten; none where there is a single one."""
    if len(by_class) < 2:
        return []
    return sorted(by_class.items(), key=lambda item: item[1].matched)[:10]


def _problems(kind: str, problems: list[Problem]) -> Iterable[str]:
    about = describe(kind)
    level = "FAULT" if about.is_fault else "note"
    yield f"{level} {kind}, {len(problems)}: {about.title}"
    for problem in problems[:EXAMPLES]:
        yield f"  {_place(problem)}{problem.message}"
    if len(problems) > EXAMPLES:
        yield f"  ... and {len(problems) - EXAMPLES} more"


def _place(problem: Problem) -> str:
    parts = []
    if problem.image_id is not None:
        parts.append(f"image {problem.image_id}")
    if problem.annotation_id is not None:
        parts.append(f"object {problem.annotation_id}")
    return ", ".join(parts) + (": " if parts else "")


def _verdict(found: Examination, num_kinds: int) -> str:
    if not found.faults:
        return "no faults found"
    faults, kinds = _number(len(found.faults), "fault"), _number(num_kinds, "kind")
    return f"{faults} of {kinds} found; --fix FILE.json writes a copy without them"


def _number(count: int, singular: str, plural: str | None = None) -> str:
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def _quantile_name(quantile: int) -> str:
    return {0: "least", 50: "median", 100: "most"}.get(quantile, f"{quantile} %")


def _row(label: str, values: Iterable[float]) -> str:
    return f"{label:<20}" + "".join(f"{value:>9.4g}" for value in values)


def _share_row(label: str, share: Share) -> str:
    matched = "".join(f"{part:>9.0%}" for part in share.matched)
    return f"  {label[:18]:<18}{share.number:>9}{matched}"
