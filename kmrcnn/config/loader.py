"""Strict YAML presets -> the dataclasses of `kmrcnn.config.schema` and `train_schema`.

A preset holds only what differs from the schema's defaults. Its `base:` is a list of YAML files
merged in order below it; bases have no base. Mappings merge key by key, everything else (lists,
numbers, null) replaces.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmrcnn.config.from_dict import from_dict
from kmrcnn.config.schema import Preset
from kmrcnn.config.strict_yaml import dump_yaml, parse_yaml

if TYPE_CHECKING:
    from kmrcnn.config.train_schema import Experiment

__all__ = [
    "dump",
    "from_dict",
    "list_presets",
    "load_experiment",
    "load_preset",
    "says_how_to_train",
]

_OTHER_FOLDERS = ("_base_", "tables")  # below `configs`, without presets
_TRAINING_KEYS = ("preset", "weights", "data", "train")  # what an experiment has beside a preset's


def load_preset(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Preset:
    """Reads a preset, merges its bases and applies overrides.

    Args:
        name_or_path: Name of a published preset ("mask_rcnn_R_50_FPN_3x") or path of a YAML file.
            The bases of a file of one's own are looked for beside it, then among the published
            ones.
        overrides: "dotted.key=value" with YAML values, such as "model.rpn.nms_threshold=0.6" or
            "model.mask=null".

    Returns:
        The preset, named after its file unless the file says otherwise.

    Raises:
        ValueError: Unknown preset or key, wrong type, a base that has a base; the message says
            where.

    Example:
        >>> load_preset("maskrcnn_resnet50_fpn").model.num_classes
        90
    """
    file = _find(name_or_path)
    mapping = _read_with_preset(file)
    for key in _TRAINING_KEYS:
        mapping.pop(key, None)
    return _resolve(Preset, file, mapping, overrides)


def load_experiment(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Reads a training configuration: a preset file with `data` and `train` sections.

    Args:
        name_or_path: As for `load_preset`. A file may name a `preset`, whose model then lies below
            its own `model` section. A preset without those sections has their defaults.
        overrides: "dotted.key=value", such as "train.optimizer.learning_rate=0.001".

    Returns:
        The experiment, named after its file unless the file says otherwise.

    Raises:
        ValueError: As `load_preset`.
    """
    from kmrcnn.config.train_schema import Experiment

    file = _find(name_or_path)
    return _resolve(Experiment, file, _read_with_preset(file), overrides)


def list_presets() -> list[str]:
    """Names of the published presets, sorted."""
    return sorted(_published())


def says_how_to_train(name_or_path: str | Path) -> bool:
    """Whether a preset has a `train` section; the others train with its defaults.

    Raises:
        ValueError: Unknown preset.
    """
    return "train" in _read_with_preset(_find(name_or_path))


def dump(preset: Any) -> str:
    """Resolved YAML of a preset (or of any dataclass of the schema), every default written out.

    `from_dict(Preset, parse_yaml(dump(preset), "text")) == preset`.
    """
    return dump_yaml(_plain(preset))


def _resolve(
    cls: type, file: Traversable, mapping: Mapping[str, Any], overrides: Iterable[str]
) -> Any:
    """`cls` of what a file says and the overrides above it."""
    for override in overrides:
        mapping = _merge(mapping, _parse_override(override))
    try:
        return from_dict(cls, {"name": _stem(file), **mapping})
    except ValueError as error:
        raise ValueError(f"Preset {str(file)!r}: {error}") from error


def _published() -> dict[str, Traversable]:
    root = importlib.resources.files("kmrcnn.configs")
    return {_stem(file): file for file in _walk(root)}


def _walk(folder: Traversable) -> Iterable[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in _OTHER_FOLDERS:
            yield from _walk(entry)
        elif entry.name.endswith((".yaml", ".yml")):
            yield entry


def _stem(file: Traversable) -> str:
    return file.name.rpartition(".")[0]


def _find(name_or_path: str | Path) -> Traversable:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise ValueError(f"`name_or_path`: there is no file {str(path)!r}.")
    published = _published()
    name = str(name_or_path)
    if name in published:
        return published[name]
    nearest = difflib.get_close_matches(name, published, n=3, cutoff=0.4)
    hint = f"Did you mean: {', '.join(nearest)}?" if nearest else "`kmrcnn presets` lists them."
    raise ValueError(
        f"`name_or_path` must be a preset's name or a .yaml file. Received: {name!r}. {hint}"
    )


def _read(file: Traversable) -> dict[str, Any]:
    mapping = parse_yaml(file.read_text(encoding="utf-8"), str(file)) or {}
    if not isinstance(mapping, dict):
        raise ValueError(
            f"Preset {str(file)!r} must be a mapping of keys. Received: {type(mapping).__name__}"
        )
    return mapping


def _read_with_bases(file: Traversable) -> dict[str, Any]:
    mapping = _read(file)
    bases = mapping.pop("base", [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(
            f"`base` of {str(file)!r} must be a list of YAML files. Received: {bases!r}"
        )
    merged: dict[str, Any] = {}
    for base in bases:
        below = _read(_find_base(base, file))
        if "base" in below:
            raise ValueError(
                f"{base!r}, a base of {str(file)!r}, has a `base` itself; bases are one level "
                f"deep. List all of them in {file.name!r}."
            )
        merged = _merge(merged, below)
    return _merge(merged, mapping)


def _read_with_preset(file: Traversable) -> dict[str, Any]:
    """A file above its bases, and above the model of the `preset` that it may name."""
    mapping = _read_with_bases(file)
    if mapping.get("preset") is None:
        return mapping
    below = _read_with_bases(_find(mapping["preset"]))
    if below.get("preset") is not None:
        raise ValueError(
            f"`preset` of {str(file)!r} is {mapping['preset']!r}, which names a `preset` itself; "
            "name that one."
        )
    return _merge({"model": below.get("model", {})}, mapping)


def _find_base(base: str, file: Traversable) -> Traversable:
    published = importlib.resources.files("kmrcnn.configs")
    beside = [file.parent.joinpath(base)] if isinstance(file, Path) else []
    for candidate in [*beside, published.joinpath(base)]:
        if candidate.is_file():
            return candidate
    raise ValueError(
        f"`base` of {str(file)!r} names {base!r}, which is neither beside that file nor among the "
        f"published presets."
    )


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _parse_override(override: str) -> dict[str, Any]:
    """Nested mapping of "model.rpn.nms_threshold=0.6": {"model": {"rpn": {"nms_threshold":
    0.6}}}.
    """
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ValueError(f"`overrides` must read 'dotted.key=value'. Received: {override!r}")
    value = parse_yaml(text, f"override {override!r}")
    for part in reversed(parts):
        value = {part: value}
    return value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return value
