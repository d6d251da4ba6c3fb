"""A COCO dataset with one of each fault, each in a picture or an object of its own."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (60, 80)  # height, width
_ORIENTATION = 0x0112


def write_faulty_folder(folder):
    """Writes `folder/faulty.json` and pictures; gives {(kind, image id, annotation id)} to find."""
    images, annotations = [], []
    for image_id in range(1, 11):
        images.append(_image_entry(image_id))
        annotations.append(_sound(100 + image_id, image_id))
        _write_picture(folder / f"{image_id}.png", seed=image_id)
    expected = _break_pictures(folder, images)
    expected |= _break_objects(images, annotations)
    categories = [
        {"id": 1, "name": "cat"},
        {"id": 2, "name": "dog"},
        {"id": 5, "name": "owl"},  # gap, and no instance
        {"id": 2, "name": "duck"},
    ]
    expected |= {
        ("duplicate-category", None, None),
        ("class-without-instances", None, None),
        ("category-id-gap", None, None),
    }
    document = {
        "info": {"year": 2024},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / "faulty.json").write_text(json.dumps(document))
    return expected


def _break_pictures(folder, images):
    """One fault each in the pictures 2 to 8; 9 is broken off, 10 is used for objects."""
    (folder / "2.png").unlink()
    (folder / "3.png").write_bytes(b"no picture")
    _write_picture(folder / "4.png", seed=4, size=(61, 80))
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    _picture(5).save(folder / "5.jpg", exif=exif)
    images[4]["file_name"] = "5.jpg"
    (folder / "6.png").write_bytes((folder / "1.png").read_bytes())
    images.append({**_image_entry(7), "file_name": "again.png"})
    _write_picture(folder / "again.png", seed=70)
    exif[_ORIENTATION] = 3
    _picture(8).save(folder / "8.jpg", exif=exif)
    images[7]["file_name"] = "8.jpg"
    (folder / "9.png").write_bytes((folder / "9.png").read_bytes()[:-200])
    images.append(_image_entry(11))
    _write_picture(folder / "11.png", seed=11)
    images.append({"id": 12})
    return {
        ("missing-image", 2, None),
        ("unreadable-image", 3, None),
        ("size-mismatch", 4, None),
        ("exif-rotation", 5, None),
        ("duplicate-image", 6, None),
        ("duplicate-image-id", 7, None),
        ("image-without-objects", 7, None),  # the second 7
        ("exif-orientation", 8, None),
        ("unreadable-image", 9, None),
        ("image-without-objects", 11, None),
        ("broken-record", None, None),
    }


def _break_objects(images, annotations):
    """One fault each in objects of picture 10."""
    height, width = SIZE
    changes = {
        "zero-area-box": {"bbox": [5, 5, 0, 10]},
        "box-outside-image": {"bbox": [90, 5, 10, 10]},
        "box-beyond-image": _square(70, 40, 20),
        "bad-box": {"bbox": [1, 2, 3]},
        "empty-mask": {"segmentation": {"size": [60, 80], "counts": [60 * 80]}},
        "polygon-too-short": {"segmentation": [[1, 1, 2, 2]]},
        "bad-polygon": {"segmentation": [[1, 1, 2, 2, 3]]},
        "rle-size-mismatch": {"segmentation": _rle((width, height))},
        "bad-rle": {"segmentation": {"size": [60, 80], "counts": [5, 7]}},
        "missing-mask": {"segmentation": None},
        "mask-box-mismatch": {"bbox": [30, 20, 14, 10]},
        "unknown-category": {"category_id": 77},
        "unknown-image": {"image_id": 99},
    }
    expected = set()
    for number, (kind, change) in enumerate(changes.items()):
        # apart from each other, lest they are near-duplicates
        entry = {**_sound(200 + number, 10, x=2 + 5 * number, y=2 + 2 * number), **change}
        annotations.append(entry)
        expected.add((kind, entry["image_id"], entry["id"]))
    annotations.append(_sound(201, 1, x=40))
    annotations.append(_sound(301, 1, x=5.2))  # nearly annotation 101
    annotations.append({"id": 302})
    return expected | {("duplicate-annotation-id", 10, 201), ("near-duplicate-box", 1, 301)}


def sound_document():
    """A document without any fault, of one picture `1.png`."""
    return {
        "images": [_image_entry(1)],
        "annotations": [_sound(2, 1)],
        "categories": [{"id": 1, "name": "cat"}],
    }


def _image_entry(image_id):
    height, width = SIZE
    name = f"{image_id}.png"
    return {"id": image_id, "file_name": name, "height": height, "width": width, "licence": 4}


def _sound(annotation_id, image_id, x=5, y=8):
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1 + annotation_id % 2,
        "iscrowd": 0,
        "area": 100.0,
        "note": "kept",
        **_square(x, y, 10),
    }


def _square(x, y, side):
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {"bbox": [x, y, side, side], "segmentation": [corners]}


def _rle(size):
    mask = np.zeros(size, np.uint8)
    mask[20:30, 30:40] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(size), "counts": rle["counts"].decode()}


def _picture(seed, size=SIZE):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))


def _write_picture(path, seed, size=SIZE):
    _picture(seed, size).save(path)
