"""YAML as people expect it: 1e-3 is a number, a key given twice is an error, nothing runs code."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads floats as YAML 1.2 does."""

    def construct_mapping(self, node, deep=False):
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be strings, not {key!r}", key_node.start_mark
                )
            if key in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            keys.add(key)
        return super().construct_mapping(node, deep)


class _StrictDumper(yaml.SafeDumper):
    """SafeDumper that puts strings in quotes which the loader would take for numbers."""


# YAML 1.1, which PyYAML follows, reads "1e-3" (no dot) as a string.
for _kind in (_StrictLoader, _StrictDumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def parse_yaml(text: str, source: str) -> Any:
    """Plain Python object of a YAML text (None for an empty one).

    Args:
        text: YAML.
        source: What to call the text in messages, usually the file's name.

    Raises:
        ValueError: Not YAML, a key given twice, a key that is not a string.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader: makes plain objects only
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not valid YAML: {error}") from error


def dump_yaml(value: Any) -> str:
    """YAML of plain Python objects, keys in their order; `parse_yaml` reads it back."""
    return yaml.dump(
        value,
        Dumper=_StrictDumper,
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=100,
    )
