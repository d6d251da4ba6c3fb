"""COCO JSON: instances (polygons, run lengths, crowds) and person keypoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import isfile  # unlike Path's, it takes names that no file can have
from pathlib import Path
from typing import Any

from kmrcnn.data.datasets.annotation_files import find_image_folder, read_json
from kmrcnn.data.datasets.collector import Collector, shortened
from kmrcnn.data.measures import is_measure, to_size
from kmrcnn.data.records import AnnotatedImages, Instance, Record


def load_coco(
    path: str | Path,
    images: str | Path | None = None,
    *,
    class_names: Iterable[str] | None = None,
    require_images: bool = True,
) -> AnnotatedImages:
    """Reads a COCO JSON file.

    Classes are the file's categories ordered by id, so gaps between ids close.

    Args:
        path: The JSON file.
        images: Folder that the file names in it start from. None looks at the usual places: beside
            the file, in `images` or in a folder named after the split (`instances_val2017.json`:
            `../val2017`).
        class_names: The classes to read, in this order; others are left out. None reads all.
        require_images: False keeps pictures whose file is missing, with `path=None`, for what
            needs annotations only.

    Returns:
        The dataset; image and annotation ids are the file's.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not COCO JSON, a class is not in it, or no picture is found.
    """
    path = Path(path)
    document = read_json(path)
    _require_coco(document, path)
    collector = Collector(path.stem)
    categories = _read_categories(document["categories"], class_names, collector, path)
    infos = _read_image_infos(document["images"], collector)
    folder = _image_folder(path, images, list(infos.values()), require_images)
    annotations = _group_by_image(document["annotations"], set(infos), collector)
    for image_id, info in infos.items():
        instances = (
            _read_instance(annotation, info, categories, collector)
            for annotation in annotations[image_id]
        )
        file = None if folder is None else folder / info.file_name
        if not require_images and file is not None and not isfile(file):
            file = None
        kept = tuple(one for one in instances if one is not None)
        collector.add(Record(image_id, file, info.size, kept))
    return collector.dataset(categories.names, categories.ids, categories.keypoint_names)


@dataclass(frozen=True)
class _Categories:
    names: tuple[str, ...]
    ids: tuple[int, ...]
    index: dict[int, int]  # category id -> class
    left_out: frozenset[int]  # ids that are known but not wanted
    keypoint_names: tuple[str, ...]


@dataclass(frozen=True)
class _ImageInfo:
    image_id: int | str
    file_name: str
    size: tuple[int, int] | None


def is_coco(document: Any) -> bool:
    """Whether a JSON document looks like COCO's ground truth."""
    return isinstance(document, dict) and {"images", "annotations"} <= set(document)


def _require_coco(document: Any, path: Path) -> None:
    if not is_coco(document):
        hint = " It looks like COCO results, not ground truth." if _is_results(document) else ""
        raise ValueError(f"{path} is not COCO JSON: it has no 'images' and 'annotations'.{hint}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise ValueError(f"{path} is not COCO JSON of instances: it has no list {key!r}.")
    if any(isinstance(a, dict) and "segments_info" in a for a in document["annotations"][:1]):
        raise ValueError(f"{path} is a COCO panoptic file; its instances are in another file.")


def _is_results(document: Any) -> bool:
    return isinstance(document, list) and bool(document) and "score" in str(document[0])


def _read_categories(
    entries: Sequence[Any], class_names: Iterable[str] | None, collector: Collector, path: Path
) -> _Categories:
    usable: dict[int, dict[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            collector.note("broken-record", f"A category has no id: {shortened(entry)}")
        elif entry["id"] in usable:
            collector.note("broken-record", f"The category id {entry['id']} occurs twice.")
        else:
            usable[entry["id"]] = entry
    names = {number: str(usable[number].get("name", number)) for number in sorted(usable)}
    ids = list(names) if class_names is None else _ids_of(class_names, names, path)
    keypoint_names = next(
        (named for number in ids if _is_full_list(named := usable[number].get("keypoints"))), ()
    )
    return _Categories(
        names=tuple(names[number] for number in ids),
        ids=tuple(ids),
        index={number: index for index, number in enumerate(ids)},
        left_out=frozenset(names) - frozenset(ids),
        keypoint_names=tuple(str(name) for name in keypoint_names),
    )


def _is_full_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _ids_of(class_names: Iterable[str], names: dict[int, str], path: Path) -> list[int]:
    by_name = {name: number for number, name in reversed(names.items())}
    wanted = list(class_names)
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ValueError(
            f"`class_names` must be among the categories of {path}. Received: {unknown}; "
            f"known: {', '.join(list(by_name)[::-1][:10])}"
        )
    return [by_name[name] for name in wanted]


def _read_image_infos(entries: Sequence[Any], collector: Collector) -> dict[int | str, _ImageInfo]:
    infos: dict[int | str, _ImageInfo] = {}
    for entry in entries:
        info = _image_info(entry)
        if info is None:
            message = f"An image has no id or no file name: {shortened(entry)}"
            collector.note("broken-record", message)
        elif info.image_id in infos:
            message = f"The image id {info.image_id!r} occurs twice: the second is left out."
            collector.note("duplicate-image-id", message, info.image_id)
        else:
            infos[info.image_id] = info
            _check_size(entry, info, collector)
    return infos


def _check_size(entry: dict[str, Any], info: _ImageInfo, collector: Collector) -> None:
    """Notes a size that is none; the picture's own is taken."""
    sides = (entry.get("height"), entry.get("width"))
    if info.size is None and sides != (None, None):
        message = f"An image's height and width are pixels. Received: {shortened(sides)}"
        collector.note("bad-image-size", message, info.image_id)


def _image_info(entry: Any) -> _ImageInfo | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), (int, str)):
        return None
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        url = entry.get("coco_url")  # LVIS names its pictures by their address only
        if not isinstance(url, str):
            return None
        file_name = "/".join(url.split("/")[-2:])  # "train2017/000000391895.jpg"
    return _ImageInfo(entry["id"], file_name, to_size(entry.get("height"), entry.get("width")))


def _image_folder(
    path: Path, images: str | Path | None, infos: Sequence[_ImageInfo], required: bool
) -> Path | None:
    candidates = _usual_folders(path) if images is None else [Path(images)]
    try:
        return find_image_folder(candidates, [info.file_name for info in infos], path)
    except ValueError:
        if required:
            raise
        return None


def _usual_folders(path: Path) -> list[Path]:
    parent, above = path.parent, path.parent.parent
    split = path.stem.rsplit("_", 1)[-1]  # "val2017" of instances_val2017
    folders = [
        folder
        for base in (parent, above)
        for folder in (base, base / split, base / split / "images", base / "images")
    ]
    return [*folders, above / "images" / split, parent / "images" / split]


def _group_by_image(
    entries: Sequence[Any], image_ids: set[int | str], collector: Collector
) -> dict[int | str, list[dict[str, Any]]]:
    groups: dict[int | str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("image_id"), (int, str)):
            message = f"An annotation has no image id: {shortened(entry)}"
            collector.note("broken-record", message)
        elif entry["image_id"] not in image_ids:
            message = f"There is no image with the id {entry['image_id']!r}."
            collector.note("unknown-image", message, entry["image_id"], entry.get("id"))
        else:
            groups[entry["image_id"]].append(entry)
    return groups


def _read_instance(
    entry: dict[str, Any], info: _ImageInfo, categories: _Categories, collector: Collector
) -> Instance | None:
    where = (info.image_id, entry.get("id"))
    category = entry.get("category_id")
    if not isinstance(category, int) or category not in categories.index:
        if not isinstance(category, int) or category not in categories.left_out:
            message = f"There is no category with the id {category!r}."
            collector.note("unknown-category", message, *where)
        return None
    keypoints = None
    if categories.keypoint_names and entry.get("keypoints") is not None:
        count = len(categories.keypoint_names)
        keypoints = collector.make_keypoints(entry["keypoints"], count, *where)
    return collector.make_instance(
        image_id=info.image_id,
        size=info.size,
        class_index=categories.index[category],
        box=_corners(entry.get("bbox")),
        segmentation=entry.get("segmentation") or None,  # tools write [] for boxes only
        annotation_id=entry.get("id"),
        is_crowd=bool(entry.get("iscrowd", 0)),
        area=collector.make_area(entry.get("area"), *where),
        keypoints=keypoints,
    )


def _corners(box: Any) -> Any:
    """From xywh to xyxy; what is no box stays as it is, to be reported."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_measure, box)):
        return box
    x, y, width, height = (float(number) for number in box)
    return x, y, x + width, y + height
