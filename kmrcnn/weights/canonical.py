"""Our names of a model's weights: "backbone/stem/kernel", however the model is nested.

Keras's paths begin with the names of whatever contains a layer: the model ("generalized_rcnn/..."),
or a wrapper around the backbone. The names here begin with the part and go on with the layer.
"""

from __future__ import annotations

import re
from typing import Any

_PARTS = ("backbone", "neck", "rpn", "roi_heads")
_NAME = re.compile(
    r"""(?:.*/)?(?:
        (?P<backbone>(?:stem|res\d+_\d+|non_local\d)/.+)  # perhaps after backbone/.../
      | (?P<neck>(?:lateral|output)\d+/.+)
      | rpn/(?:.*/)?(?P<rpn_layer>(?:conv\d+|objectness|deltas)/.+)
      | roi_heads/(?:.*/)?(?P<branch>box|mask|keypoint)/(?:.*/)?
        (?P<head_layer>(?:conv\d+|fc\d+|deconv|class_logits|box_deltas|logits)/.+)
    )""",
    re.VERBOSE,
)


def canonical_name(path: str, model_name: str = "") -> str:
    """Our name for a variable's path.

    A path that is of none of the layers of a Faster, Mask or Keypoint R-CNN begins with its part
    all the same, or, if it has none, is only freed of the model's name.

    Example:
        >>> canonical_name("generalized_rcnn/backbone/res_net/stem/kernel")
        'backbone/stem/kernel'
    """
    match = _NAME.fullmatch(path)
    if match and match["backbone"]:
        return f"backbone/{match['backbone']}"
    if match and match["neck"]:
        return f"neck/{match['neck']}"
    if match and match["rpn_layer"]:
        return f"rpn/{match['rpn_layer']}"
    if match:
        return f"roi_heads/{match['branch']}/{match['head_layer']}"
    words = path.split("/")
    start = next((i for i, word in enumerate(words) if word in _PARTS), None)
    return "/".join(words[start:]) if start is not None else path.removeprefix(f"{model_name}/")


def canonical_weights(model: Any) -> dict[str, Any]:
    """Our names and the Keras variables of a model's weights.

    Args:
        model: A built keras.Model.

    Returns:
        Name -> keras.Variable, in the model's order; no metrics, no random states.

    Raises:
        ValueError: Two variables come to the same name.
    """
    variables: dict[str, Any] = {}
    for variable in model.weights:
        name = canonical_name(variable.path, model.name)
        if name in variables:
            raise ValueError(
                f"Two variables of `model` are called {name!r}: {variables[name].path!r} and "
                f"{variable.path!r}."
            )
        variables[name] = variable
    return variables
