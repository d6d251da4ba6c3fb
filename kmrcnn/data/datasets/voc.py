"""Pascal VOC: XML boxes, and masks from SegmentationObject."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kmrcnn.data.datasets.annotation_files import images_by_stem, read_lines
from kmrcnn.data.datasets.collector import Collector, choose_classes
from kmrcnn.data.datasets.label_images import compact_mask, read_label_image, split_labels
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.measures import to_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record

_NO_PIXELS = MaskCrop(np.zeros((0, 0), bool), 0, 0)
_VOID = 255  # borders and parts that no one decided on


def load_voc(
    source: str | Path,
    images: str | Path | None = None,
    *,
    split: str | None = None,
    masks: bool | None = None,
    class_names: Iterable[str] | None = None,
) -> AnnotatedImages:
    """Reads a folder in the layout of Pascal VOC.

    VOC counts pixels from 1 and includes the last one; boxes become 0-based and continuous. A box
    with xmin == xmax has no area: tools write that for a click without a drag.

    Args:
        source: The folder with `Annotations` and `JPEGImages`, or a list of pictures such as
            `ImageSets/Segmentation/val.txt`, or the folder `Annotations`.
        images: Folder of the pictures; None takes `JPEGImages`.
        split: Name of a list in `ImageSets`; None takes every annotated picture.
        masks: Read masks from `SegmentationObject`, and only pictures that have one. None does so
            where the list is one of `ImageSets/Segmentation`, or, without a list, where every
            annotated picture has one.
        class_names: Classes in order; None takes the names in use, by alphabet.

    Returns:
        The dataset. "Difficult" objects are crowds: ignored in training and evaluation, as in VOC.

    Raises:
        OSError: A list cannot be read.
        ValueError: There is no such layout or list.
    """
    layout = _find_layout(Path(source), images, split, masks)
    collector = Collector(layout.name)
    files = images_by_stem(layout.images)
    parsed = {}
    for stem in layout.stems:
        annotation = _read_xml(layout.annotations / f"{stem}.xml", stem, collector)
        if annotation is not None:
            parsed[stem] = annotation
    labels = [one.name for annotation in parsed.values() for one in annotation.objects]
    names = choose_classes(labels, class_names)
    for stem, annotation in tqdm(parsed.items(), desc=layout.name, leave=False, disable=None):
        labels = None
        if layout.masks is not None:
            labels = _read_labels(layout.masks / f"{stem}.png", annotation.size, stem, collector)
            if labels is None:
                continue
        path = files.get(stem, layout.images / annotation.file_name)
        instances = _read_instances(stem, annotation, names, labels, collector)
        collector.add(Record(stem, path, annotation.size, tuple(instances)))
    return collector.dataset(names)


@dataclass(frozen=True)
class _Layout:
    name: str
    annotations: Path
    images: Path
    masks: Path | None
    stems: list[str]


@dataclass(frozen=True)
class _Object:
    name: str
    box: tuple[float, float, float, float] | None
    difficult: bool


@dataclass(frozen=True)
class _Annotation:
    file_name: str
    size: tuple[int, int] | None
    objects: list[_Object]


def is_voc(source: Path) -> bool:
    """Whether a folder, or a list in it, is in the layout of Pascal VOC."""
    if source.is_file():
        return source.suffix == ".txt" and source.parent.parent.name == "ImageSets"
    folder = source if source.name == "Annotations" else source / "Annotations"
    return folder.is_dir() and next(folder.glob("*.xml"), None) is not None


def _find_layout(
    source: Path, images: str | Path | None, split: str | None, masks: bool | None
) -> _Layout:
    if not is_voc(source):
        raise ValueError(
            f"{source} is not in the layout of Pascal VOC: it has no folder 'Annotations' with "
            "XML files."
        )
    listed = source if source.is_file() else None
    root = source if source.is_dir() else source.parents[2]
    root = root.parent if root.name == "Annotations" else root
    annotations, objects = root / "Annotations", root / "SegmentationObject"
    if split is not None:
        listed = _find_list(root, split, masks)
    if listed is None:
        stems = sorted(path.stem for path in annotations.glob("*.xml"))
        whole = objects.is_dir() and all((objects / f"{stem}.png").is_file() for stem in stems)
        masks = whole if masks is None else masks
        if masks:
            stems = [stem for stem in stems if (objects / f"{stem}.png").is_file()]
    else:
        stems = list(dict.fromkeys(line.split()[0] for line in read_lines(listed)))
        masks = listed.parent.name == "Segmentation" if masks is None else masks
    return _Layout(
        name=root.name if listed is None else f"{root.name} {listed.stem}",
        annotations=annotations,
        images=root / "JPEGImages" if images is None else Path(images),
        masks=objects if masks else None,
        stems=stems,
    )


def _find_list(root: Path, split: str, masks: bool | None) -> Path:
    folders = ("Main",) if masks is False else ("Segmentation", "Main")
    candidates = [root / "ImageSets" / folder / f"{split}.txt" for folder in folders]
    for path in candidates:
        if path.is_file():
            return path
    raise ValueError(f"There is no list {' or '.join(str(path) for path in candidates)}.")


def _read_xml(path: Path, stem: str, collector: Collector) -> _Annotation | None:
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        collector.note("broken-record", f"There is no annotation {path}.", stem)
    except (ElementTree.ParseError, OSError, ValueError) as error:
        collector.note("broken-record", f"{path} is not XML: {error}", stem)
    else:
        size = tuple(_number(root.find(f"size/{side}")) for side in ("height", "width"))
        return _Annotation(
            file_name=root.findtext("filename", f"{stem}.jpg"),
            size=to_size(*size),
            objects=[_read_object(element) for element in root.findall("object")],
        )
    return None


def _read_object(element: ElementTree.Element) -> _Object:
    sides = {
        key: _number(element.find(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")
    }
    x1, y1, x2, y2 = sides.values()
    if x2 > x1 and y2 > y1:  # else as it is, to be reported
        x1, y1 = x1 - 1, y1 - 1
    name = (element.findtext("name") or "").strip()
    return _Object(name, (x1, y1, x2, y2), _number(element.find("difficult")) == 1)


def _number(element: ElementTree.Element | None) -> float:
    """The number in an element; 0 where there is none."""
    try:
        return float(element.text)
    except (AttributeError, TypeError, ValueError):
        return 0.0


def _read_labels(
    path: Path, size: tuple[int, int] | None, stem: str, collector: Collector
) -> np.ndarray | None:
    try:
        labels = read_label_image(path)
    except (OSError, ValueError) as error:
        collector.note("unreadable-mask", str(error), stem)
        return None
    if size is not None and labels.shape != size:
        message = f"{path} is {labels.shape}, the picture {size} (height, width)."
        collector.note("mask-size-mismatch", message, stem)
        return None
    return labels


def _read_instances(
    stem: str,
    annotation: _Annotation,
    names: tuple[str, ...],
    labels: np.ndarray | None,
    collector: Collector,
) -> Iterator[Instance]:
    """The objects; the k-th one, from 1, has the number k in the label image."""
    crops = {} if labels is None else split_labels(labels, (0, _VOID))
    for number, one in enumerate(annotation.objects, start=1):
        if one.name not in names:
            message = f"The class {one.name!r} is not among {', '.join(names[:10])}."
            collector.note("unknown-category", message, stem, number)
            continue
        segmentation = None
        if labels is not None:
            segmentation = compact_mask(crops.get(number, _NO_PIXELS), labels.shape)
        instance = collector.make_instance(
            stem,
            annotation.size,
            names.index(one.name),
            one.box,
            segmentation,
            annotation_id=number,
            is_crowd=one.difficult,
        )
        if instance is not None:
            yield instance
