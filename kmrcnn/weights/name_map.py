"""From the tensors of a file to arrays under our names: the mechanism; the tables are beside it.

A table (`torchvision.py`, `detectron2.py`) is a list of rules "our name -> their key, layout". In
braces stand numbers, "res{stage}_{block}" -> "layer{stage-1}.{block}", or words: {param} (kernel or
bias), {norm} (a vector of a normalisation), {name} (anything).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kmrcnn.config.schema import ModelConfig
from kmrcnn.weights.layouts import same

_WORDS = {
    "param": {"kernel": "weight", "bias": "bias"},
    "norm": {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
}
_VALUES = {"name": ".+"}
_FIELD = re.compile(r"\{(\w+)([+-]\d+)?\}")
_SHOWN_PROBLEMS = 12

Layout = Callable[[np.ndarray, ModelConfig], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """One line of a table."""

    name: str  # our name, with fields in braces
    keys: str | tuple[str, ...]  # theirs; of several the first that the file holds
    layout: Layout = same  # of kernels
    rows: Callable[[np.ndarray], np.ndarray] | None = None  # of kernels and biases, before `layout`
    absent: Mapping[str, float] | None = None  # last word of our name -> value where there is none


@dataclass(frozen=True)
class Source:
    """A system whose weight files are understood."""

    name: str
    rules: tuple[Rule, ...]  # the first that matches a name counts
    signature: tuple[str, ...]  # keys of which its files hold one, and no other system's
    ignored: tuple[str, ...] = ()  # regular expressions of keys that carry no weights of the model
    numbers: Callable[[dict[str, int], ModelConfig], dict[str, int]] = lambda fields, config: {}
    # what is done to a file's tensors before names are looked up
    prepare: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = lambda tensors: (
        tensors
    )
    input_axis: int = 1  # of a convolution's kernel: its input channels
    partial: bool = False  # its files are of a part of the model: weights without a rule stay fresh


@dataclass(frozen=True)
class Converted:
    """What `convert` made of a file."""

    arrays: dict[str, np.ndarray]  # our name -> float32 array
    ignored: list[str]  # keys of the file that no weight needs
    filled: list[str]  # our names of weights the file leaves out because they have a fixed value


def convert(
    tensors: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[int, ...]],
    config: ModelConfig,
    source: Source,
) -> Converted:
    """Renames and rearranges the tensors of a file.

    Args:
        tensors: The file's keys and arrays, in the source's layouts.
        expected: Our names of all weights and their shapes in Keras's layouts.
        config: The model they are for.
        source: Whose file it is.

    Returns:
        An array of the expected shape for every expected name.

    Raises:
        ValueError: Tensors that are missing, of another shape, or in the file but of no use; the
            message names each on both sides.
    """
    arrays, used, filled, problems = {}, set(), [], []
    for name, shape in expected.items():
        rule, keys = find_keys(name, config, source)
        key = next((key for key in keys if key in tensors), None)
        if key is not None:
            used.add(key)
            array = _arrange(tensors[key], name, rule, config)
            if array is not None and array.shape == tuple(shape):
                arrays[name] = array
            else:
                problems.append(
                    f"{name} needs shape {tuple(shape)}; {key} has {tensors[key].shape}"
                    + ("" if array is None else f", which gives {array.shape}")
                )
        elif rule and rule.absent and (word := name.rpartition("/")[2]) in rule.absent:
            arrays[name] = np.full(shape, rule.absent[word], np.float32)
            filled.append(name)
        elif rule:
            problems.append(f"{name} is missing: the file has no {' or '.join(keys)}")
        else:
            problems.append(f"{name} is missing: {source.name} files have no such weight")
    rest = [key for key in tensors if key not in used]
    ignored = [key for key in rest if any(re.fullmatch(p, key) for p in source.ignored)]
    extra = sorted(set(rest) - set(ignored))
    problems += [f"{key} {tensors[key].shape} of the file has no place here" for key in extra]
    if problems:
        raise ValueError(_report_problems(problems, source))
    return Converted(arrays, ignored, filled)


def find_keys(
    name: str, config: ModelConfig, source: Source
) -> tuple[Rule | None, tuple[str, ...]]:
    """The rule for one of our names and the keys it may have in a file; (None, ()) if none."""
    for rule in source.rules:
        if match := _pattern(rule.name).fullmatch(name):
            values = match.groupdict()
            numbers = {field: int(v) for field, v in values.items() if v.isdigit()}
            numbers |= source.numbers(numbers, config)
            words = {field: _WORDS.get(field, {}).get(v, v) for field, v in values.items()}
            keys = (rule.keys,) if isinstance(rule.keys, str) else rule.keys
            return rule, tuple(_fill(key, numbers, words) for key in keys)
    return None, ()


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """Regular expression with one named group per field of a rule's name."""
    parts, end = [], 0
    for match in _FIELD.finditer(template):
        field = match[1]
        value = "|".join(_WORDS[field]) if field in _WORDS else _VALUES.get(field, r"\d+")
        parts += [re.escape(template[end : match.start()]), f"(?P<{field}>{value})"]
        end = match.end()
    return re.compile("".join(parts) + re.escape(template[end:]))


def _fill(template: str, numbers: Mapping[str, int], words: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] in numbers:
            return str(numbers[match[1]] + int(match[2] or 0))
        return words[match[1]]

    return _FIELD.sub(value, template)


def _arrange(tensor: np.ndarray, name: str, rule: Rule, config: ModelConfig) -> np.ndarray | None:
    """The tensor in Keras's layout as float32; None if its rank or size does not allow it."""
    try:
        if rule.rows is not None:
            tensor = rule.rows(tensor)
        if name.endswith("/kernel"):
            tensor = rule.layout(tensor, config)
    except ValueError:
        return None
    return tensor.astype(np.float32, copy=False)


def _report_problems(problems: list[str], source: Source) -> str:
    shown = problems[:_SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    return (
        f"The weights, read as a {source.name} file, do not fit the model. Is it the right preset?"
        + "".join(f"\n  {problem}" for problem in shown)
    )
