"""Freeze plans: which parts of a model do not learn."""

from __future__ import annotations

from typing import Any, get_args

from kmrcnn.config.train_schema import FreezePlan

STAGES = ("stem", "res2", "res3", "res4")  # of the backbone, in the order of computation


def freeze(model: Any, plan: FreezePlan) -> None:
    """Sets `trainable` of a model's parts; call it before `compile`.

    A frozen batch normalisation also keeps its statistics, and layers that are frozen by nature
    (`FrozenBatchNorm`) stay so under every plan.

    Args:
        model: A `GeneralizedRCNN`.
        plan: "as_model" leaves what `config.backbone.freeze_at` said; "none" frees everything;
            "stem", "res2", "res3", "res4" freeze the backbone up to and including that stage;
            "backbone" freezes all of it; "all_but_heads" the neck too.

    Raises:
        ValueError: No such plan, or the backbone has no such stages.
    """
    if plan not in get_args(FreezePlan):
        raise ValueError(f"`plan` must be one of {list(get_args(FreezePlan))}. Received: {plan!r}")
    if plan == "as_model":
        return
    _set_trainable(model.neck, plan != "all_but_heads")
    _set_trainable(model.backbone, plan not in ("backbone", "all_but_heads"))
    if plan in STAGES:
        for layers in _stages(model.backbone)[: STAGES.index(plan) + 1]:
            for layer in layers:
                _set_trainable(layer, False)


def _set_trainable(layer: Any, value: bool) -> None:
    """Of a layer and all within it. TensorFlow drops an assignment that changes nothing for the
    outer one, whatever its parts are; hence two.
    """
    layer.trainable = not value
    layer.trainable = value


def _stages(backbone: Any) -> list[list[Any]]:
    """The layers of the stem, of res2, of res3, ..."""
    if not (hasattr(backbone, "stem") and hasattr(backbone, "stages")):
        raise ValueError(
            "A plan by stages needs a backbone with a `stem` and `stages`. "
            f"Received: {type(backbone).__name__}. 'backbone' freezes it as a whole."
        )
    return [[backbone.stem], *backbone.stages]
