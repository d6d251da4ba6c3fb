"""The kinds of faults that `kmrcnn data check` looks for, and what its `--fix` does about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        title: What the report calls it.
        remedy: What the cleaned copy does about it.
        is_fault: Whether it makes the check fail; the others are notes.
    """

    title: str
    remedy: str = ""
    is_fault: bool = True


class Fault(NamedTuple):
    """What is wrong with one instance; with its picture and id it becomes a `Problem`."""

    kind: str
    message: str


KINDS = {
    # the annotation file
    "broken-record": Kind("entries of the file that cannot be used", "left out"),
    "duplicate-image-id": Kind("image ids used twice", "the first one stays"),
    "duplicate-annotation-id": Kind("annotation ids used twice", "later ones renumbered"),
    "unknown-image": Kind("annotations of an image that is not listed", "left out"),
    "unknown-category": Kind("annotations of a category that is not listed", "left out"),
    "duplicate-category": Kind("category ids or names used twice", "merged into the first one"),
    "bad-keypoints": Kind("keypoints of another number than the class has", "left out"),
    "unsupported-shape": Kind("shapes that are no object outlines", "left out"),
    "bad-area": Kind("areas that are no numbers from 0 on", "measured anew"),
    # images
    "bad-image-size": Kind("image sizes that are no pixels", "the image file's own is taken"),
    "missing-image": Kind("image files that do not exist", "left out with their annotations"),
    "unreadable-image": Kind("image files that cannot be read", "left out with their annotations"),
    "size-mismatch": Kind(
        "image files of another size than annotated", "left out with their annotations"
    ),
    "exif-rotation": Kind(
        "pictures that EXIF turns, annotated lying down", "annotations turned with the picture"
    ),
    "duplicate-image": Kind("image files with the same content", "the one with most objects stays"),
    # boxes
    "bad-box": Kind("boxes that are not four finite numbers", "the mask's box is taken, if any"),
    "zero-area-box": Kind("boxes without area", "the mask's box is taken, if any"),
    "box-outside-image": Kind("boxes outside their image", "the mask's box is taken, if any"),
    "box-beyond-image": Kind("boxes that stick out of their image", "clipped"),
    "near-duplicate-box": Kind("objects annotated twice", "the first one stays"),
    # masks
    "bad-polygon": Kind("masks that are no lists of x, y", "left out"),
    "polygon-too-short": Kind("polygons with less than three points", "the other parts stay"),
    "bad-rle": Kind("run lengths (RLE) that do not fill their size", "left out"),
    "rle-size-mismatch": Kind("run lengths (RLE) for another size than the image's", "left out"),
    "unreadable-mask": Kind("mask files that cannot be read", "left out"),
    "mask-size-mismatch": Kind("mask files of another size than the image's", "left out"),
    "empty-mask": Kind("masks without a pixel in the image", "left out"),
    "missing-mask": Kind("objects without a mask, where others have one", "left out"),
    "mask-box-mismatch": Kind("boxes off their mask", "the mask's box is taken"),
    # notes
    "exif-orientation": Kind("pictures that EXIF turns or mirrors", is_fault=False),
    "image-without-objects": Kind("images without objects (kept as negatives)", is_fault=False),
    "class-without-instances": Kind("classes without an instance", is_fault=False),
    "category-id-gap": Kind("gaps in the category ids", is_fault=False),
    "thin-tip": Kind("boxes around tips too thin to cover a pixel", is_fault=False),
    "low-anchor-match": Kind("objects that few anchors fit", is_fault=False),
}


# what no check of this package looks for, but loaders report
LOADERS_ONLY = (
    "bad-area",
    "bad-image-size",
    "bad-keypoints",
    "unsupported-shape",
    "unreadable-mask",
    "mask-size-mismatch",
)


def describe(kind: str) -> Kind:
    """The entry of a kind; those that only a loader knows are faults that it has left out."""
    return KINDS.get(kind) or Kind(kind.replace("-", " "), "left out")
