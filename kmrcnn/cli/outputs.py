"""The folder `kmrcnn predict` writes to; every file is written aside, then renamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kmrcnn.data.files import written_aside
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.explanation import Explanation
from kmrcnn.visualize.debug import draw_explanation
from kmrcnn.visualize.draw import draw_detections


class OutputFolder:
    """Writes what was found in each picture, in sub-folders by kind.

    - ``overlay/NAME.jpg|png``: the picture with its detections drawn;
    - ``json/NAME.json``: `Detections.to_dict`;
    - ``masks/NAME.png``: 16-bit label map, 0 background, i + 1 the i-th detection; the best score
      wins a pixel;
    - ``polygons/NAME.json``: LabelMe, for pictures that are files;
    - ``coco_results.json`` and ``coco_images.json`` with "json": all results, and the images and
      categories they mean;
    - ``explain/NAME/``: one picture per stage, and a table.

    Args:
        root: The folder; made if need be.
        kinds: Which to write: "overlay", "json", "masks", "polygons".
        color_by: See `draw_detections`.
        detail_size: See `draw_detections`.
    """

    def __init__(
        self,
        root: Path,
        kinds: Sequence[str],
        color_by: str = "auto",
        detail_size: tuple[int, int] | None = None,
    ):
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.kinds = frozenset(kinds)
        self.color_by = color_by
        self.detail_size = detail_size
        self._results: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._categories: list[dict[str, Any]] = []

    def add(
        self, name: str, image_id: int, file_name: str, image: np.ndarray, detections: Detections
    ) -> None:
        """Writes the files of one picture, and keeps its COCO results for `write_coco`.

        Args:
            name: Of the files, without suffix.
            image_id: In the COCO results.
            file_name: What the COCO file calls the picture.
            image: (H, W, C) uint8, RGB first.
            detections: What was found; the LabelMe file needs its `source`.
        """
        if "overlay" in self.kinds and detections.source is not None:
            self._write_picture(
                self._overlay_path(name, detections.source), self.draw(image, detections)
            )
        if "masks" in self.kinds:
            self._write_picture(self.root / "masks" / f"{name}.png", label_map(detections))
        if "polygons" in self.kinds and detections.source is not None:
            detections.to_labelme(self.root / "polygons" / f"{name}.json")
        if "json" in self.kinds:
            self._write_json(self.root / "json" / f"{name}.json", detections.to_dict())
            self._keep_coco(image_id, file_name, detections)

    def draw(self, image: np.ndarray, detections: Detections) -> np.ndarray:
        """Draws detections in the chosen colours."""
        return draw_detections(
            image, detections, color_by=self.color_by, detail_size=self.detail_size
        )

    def add_explanation(self, name: str, image: np.ndarray, explanation: Explanation) -> None:
        """Writes the pictures and the table of ``explain/NAME/``."""
        folder = self.root / "explain" / name
        for stage, picture in draw_explanation(image, explanation).items():
            self._write_picture(folder / f"{stage}.png", picture)
        with written_aside(folder / "summary.txt") as aside:
            aside.write_text(explanation.summary() + "\n", encoding="utf-8")

    def write_coco(self) -> None:
        """Writes the COCO results so far, and the images and categories they refer to."""
        if "json" not in self.kinds:
            return
        self._write_json(self.root / "coco_results.json", self._results)
        images = {"images": self._images, "categories": self._categories}
        self._write_json(self.root / "coco_images.json", images)

    def _overlay_path(self, name: str, source: Path) -> Path:
        photograph = source.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif")
        return self.root / "overlay" / (name + (".jpg" if photograph else ".png"))

    def _keep_coco(self, image_id: int, file_name: str, detections: Detections) -> None:
        height, width = detections.image_size
        image = {"id": image_id, "file_name": file_name, "height": height, "width": width}
        self._images.append(image)
        self._results += detections.to_coco(image_id)
        names = detections.class_names or ()
        ids = detections.category_ids or range(1, len(names) + 1)
        self._categories = [{"id": int(i), "name": name} for i, name in zip(ids, names)]

    def _write_picture(self, path: Path, picture: np.ndarray) -> None:
        options = {"quality": 92} if path.suffix == ".jpg" else {"compress_level": 3}
        with written_aside(path) as aside:
            Image.fromarray(picture).save(aside, **options)

    def _write_json(self, path: Path, value: Any) -> None:
        with written_aside(path) as aside:
            aside.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def label_map(detections: Detections) -> np.ndarray:
    """Paints masks into (H, W) uint16: 0 background, i + 1 the i-th detection, best on top."""
    labels = np.zeros(detections.image_size, np.uint16)
    crops = list(detections.mask_crops())
    for index in np.argsort(detections.scores, kind="stable").tolist():
        labels[crops[index].slices()][crops[index].bitmap] = index + 1
    return labels


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File names without suffix; repeated ones get _2, _3, ... (letter case does not count)."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def image_ids(paths: Sequence[Path]) -> list[int]:
    """COCO ids: the file names if all are distinct numbers, as in COCO itself; else 1, 2, ..."""
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return [int(stem) for stem in stems]
    return list(range(1, len(stems) + 1))
