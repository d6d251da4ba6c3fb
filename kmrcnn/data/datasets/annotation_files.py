"""Reading annotation files, and finding the pictures they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from os.path import isfile  # unlike Path's, it takes names that no file can have
from pathlib import Path
from typing import Any

from kmrcnn.data.images import IMAGE_SUFFIXES

_PROBES = 20  # file names that are looked up to recognise the folder of the pictures


def read_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON; names the file and the place.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # among them integers of too many digits
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file without those that are empty.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def find_image_folder(
    candidates: Iterable[Path], file_names: Sequence[str], annotations: Path
) -> Path:
    """The first folder that holds most of the named pictures, of a few that are looked up.

    Raises:
        ValueError: None holds any of them.
    """
    candidates = list(dict.fromkeys(candidates))
    if not file_names:
        return candidates[0]
    probes = file_names[:: max(len(file_names) // _PROBES, 1)][:_PROBES]
    found = [sum(isfile(folder / name) for name in probes) for folder in candidates]
    if max(found) == 0:  # then any picture will do
        found = [any(isfile(folder / name) for name in file_names) for folder in candidates]
    if max(found) == 0:
        raise ValueError(
            f"The pictures of {annotations} are not found, such as {probes[0]!r}; looked in "
            f"{', '.join(str(folder) for folder in candidates)}. Give their folder as `images`."
        )
    return candidates[found.index(max(found))]


def list_images(folder: Path) -> list[Path]:
    """The pictures in a folder and its sub-folders, by name; hidden files are left out.

    Raises:
        ValueError: There is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures directly in a folder, by their name without the suffix.

    Raises:
        ValueError: There is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    }
