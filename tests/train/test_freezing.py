"""Freeze plans."""

import dataclasses

import pytest

from kmrcnn.train.freezing import freeze
from tests.tiny import tiny_config, tiny_model


def learning_parts(plan, norm="batch_norm", freeze_at=0) -> set[str]:
    backbone = dataclasses.replace(tiny_config().backbone, norm=norm, freeze_at=freeze_at)
    model = tiny_model(backbone=backbone)
    freeze(model, plan)
    paths = [weight.path.split("/") for weight in model.trainable_weights]
    return {path[1].split("_")[0] if path[0] == "backbone" else path[0] for path in paths}


STAGES = {"stem", "res2", "res3", "res4", "res5"}
REST = {"neck", "rpn", "roi_heads"}


@pytest.mark.parametrize(
    "plan,frozen",
    [
        ("none", set()),
        ("stem", {"stem"}),
        ("res2", {"stem", "res2"}),
        ("res4", {"stem", "res2", "res3", "res4"}),
        ("backbone", STAGES),
        ("all_but_heads", STAGES | {"neck"}),
    ],
)
@pytest.mark.parametrize("freeze_at", [0, 5])
def test_a_plan_decides_whatever_the_model_said(plan, frozen, freeze_at):
    assert learning_parts(plan, freeze_at=freeze_at) == (STAGES | REST) - frozen


def test_as_model_keeps_the_models_own_freezing():
    assert learning_parts("as_model", freeze_at=2) == (STAGES | REST) - {"stem", "res2"}


def test_frozen_batch_norm_never_learns():
    backbone = dataclasses.replace(tiny_config().backbone, norm="frozen_batch_norm")
    model = tiny_model(backbone=backbone)
    freeze(model, "none")
    names = {w.name for w in model.trainable_weights if w.path.startswith("backbone")}
    assert names == {"kernel"}


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="as_model"):
        freeze(tiny_model(), "res6")
