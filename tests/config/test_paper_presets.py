"""The paper's configurations: what each row of a table changes, and that the parts fit."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.config.loader import list_presets, load_experiment, load_preset
from kmrcnn.models.build import build_model
from kmrcnn.reproduce.tables import list_tables, load_table
from tests.tiny import tiny_inputs

C4, FPN, X101 = "paper_R_50_C4", "paper_R_50_FPN", "paper_X_101_64x4d_FPN"
PERSON = "paper_person_keypoint"
SCALES = "paper_scales_X_101_64x4d_FPN"
CHANGES = [  # configuration, what it is compared with, what differs in the model
    ("paper_R_101_C4", C4, {"backbone.name": "resnet101"}),
    ("paper_R_101_FPN", FPN, {"backbone.name": "resnet101"}),
    ("paper_softmax_masks", C4, {"mask.activation": "softmax"}),
    ("paper_class_agnostic_masks", C4, {"mask.class_agnostic": True}),
    ("paper_C4_roi_pool", C4, {"pooler.operator": "roi_pool"}),
    ("paper_C4_roi_warp", C4, {"pooler.operator": "roi_warp"}),
    ("paper_C4_roi_warp_max", C4, {"pooler.operator": "roi_warp_max"}),
    ("paper_C4_roi_align_max", C4, {"pooler.operator": "roi_align_max"}),
    ("paper_C5_roi_pool", "paper_C5_roi_align", {"pooler.operator": "roi_pool"}),
    ("paper_mlp_masks", FPN, {"mask.head": "mlp"}),
    ("paper_mlp_plus_masks", FPN, {"mask.head": "mlp", "mask.num_fcs": 3}),
    ("paper_faster_R_101_FPN", "paper_R_101_FPN", {"mask": None}),
    ("paper_keypoint_roi_pool", PERSON, {"pooler.operator": "roi_pool"}),
    ("paper_updated_X_101_64x4d_FPN", X101, {"box.nms_threshold": 0.5}),
    (SCALES, "paper_updated_X_101_64x4d_FPN", {}),
    (
        "paper_X_152_32x8d_FPN",
        SCALES,
        {"backbone.name": "resnet152", "backbone.groups": 32, "backbone.width_per_group": 8},
    ),
    (
        "paper_X_152_32x8d_FPN_non_local",
        "paper_X_152_32x8d_FPN",
        {"backbone.non_local_stage": 4},
    ),
]
SMALL = [
    "model.backbone.name=resnet18",
    "model.backbone.stem_channels=4",
    "model.backbone.res2_channels=4",
    "model.neck.channels=8",
    "model.rpn.pre_nms_top_n=50",
    "model.rpn.post_nms_top_n=20",
    "model.box.fc_channels=8",
    "model.box.max_detections=5",
]
SMALL_MASK = ["model.mask.channels=8", "model.mask.fc_channels=8"]
BUILT = [  # one of each kind, and the side of its masks
    ("paper_R_50_C4", 14),
    ("paper_softmax_masks", 14),
    ("paper_C4_roi_warp_max", 14),
    ("paper_C5_roi_pool", 28),
    ("paper_mlp_plus_masks", 28),
    ("paper_X_152_32x8d_FPN_non_local", 28),
]


def flat(config, path=""):
    """{"mask.channels": 256, ...}; a part that is absent is {"mask": None}."""
    values = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}{field.name}"
        if dataclasses.is_dataclass(value):
            values |= flat(value, f"{name}.")
        else:
            values[name] = value
    return values


@pytest.mark.parametrize("name,base,changes", CHANGES, ids=[change[0] for change in CHANGES])
def test_a_row_changes_what_it_says_and_nothing_else(name, base, changes):
    mine, other = flat(load_preset(name).model), flat(load_preset(base).model)
    got = {key: value for key, value in mine.items() if other.get(key, "absent") != value}
    assert got == changes


def test_every_configuration_belongs_to_a_table_and_has_its_classes():
    mine = {name for name in list_presets() if name.startswith("paper_")}
    tables = [load_table(name) for name in list_tables()]
    named = {row.config for table in tables for row in table.rows if row.config}
    named |= {table.mini.config for table in tables if table.mini}
    assert mine == named
    for name in mine:
        experiment = load_experiment(name)
        assert experiment.description and len(experiment.model.class_names) in (80, 1, 8, 5)


@pytest.mark.parametrize(
    "name,steps,rate,batch",
    [
        ("paper_R_50_C4", {0: 1.0, 12: 0.1}, 0.02, 16),
        ("paper_X_101_64x4d_FPN", {0: 1.0, 12: 0.1}, 0.01, 8),
        ("paper_updated_X_101_64x4d_FPN", {0: 1.0, 12: 0.1, 16: 0.01}, 0.01, 8),
        (SCALES, {0: 1.0, 20: 0.1, 24: 0.01}, 0.01, 8),
        ("paper_person_box", {0: 1.0, 6: 0.1, 8: 0.01}, 0.02, 16),
    ],
)
def test_schedules_are_the_papers(name, steps, rate, batch):
    """160k steps with a drop at 120k (section 3.1), 180k, 260k (appendix B), 90k (section 5)."""
    train = load_experiment(name).train
    optimizer = train.optimizer
    total = {12: 160, 16: 180, 24: 260, 8: 90}[max(steps)]
    assert train.epochs * train.steps_per_epoch == total * 1000 and train.batch_size == batch
    assert optimizer.learning_rate * batch / optimizer.base_batch_size == pytest.approx(rate)
    assert train.schedule.milestones == tuple(map(float, sorted(steps)[1:]))
    assert train.schedule.gamma == 0.1 and optimizer.momentum == 0.9
    assert optimizer.weight_decay == 1e-4


def test_scales_of_training():
    assert load_experiment(FPN).data.short_sides == (800,)
    for name in (SCALES, PERSON):
        data = load_experiment(name).data
        assert (data.short_sides, data.short_side_sampling) == ((640, 800), "range")
    city = load_experiment("paper_cityscapes")
    assert city.data.short_sides == (800, 1024) and city.model.input.short_side == 1024
    assert city.train.epochs * city.train.steps_per_epoch == 24000
    tuned = load_experiment("paper_cityscapes_from_coco")
    assert tuned.weights == "coco" and tuned.preset == "mask_rcnn_R_50_FPN_1x"
    assert tuned.train.epochs * tuned.train.steps_per_epoch == 4000
    coco, mine = flat(load_preset(tuned.preset).model), flat(tuned.model)
    assert {name for name in coco if coco[name] != mine[name]} == {
        *("num_classes", "class_names", "category_ids", "input.short_side", "input.long_side"),
        *("rpn.smooth_l1_beta", "pooler.sampling_ratio"),
        *("box.nms_threshold", "box.smooth_l1_beta"),
    }


def test_four_settings_of_table_5():
    rows = [load_preset(row.config).model for row in load_table("table5").rows]
    assert [(m.mask is not None, m.keypoint is not None) for m in rows] == [
        (False, False),
        (True, False),
        (False, True),
        (True, True),
    ]


@pytest.mark.parametrize("name,side", BUILT)
def test_models_build_and_predict(name, side):
    config = load_preset(name, [*SMALL, *SMALL_MASK, "model.backbone.groups=1"]).model
    model = build_model(config, seed=0)
    masks = model(tiny_inputs(canvas=(96, 128)))["masks"]
    assert masks.shape == (2, 5, side, side) and np.isfinite(masks).all()
