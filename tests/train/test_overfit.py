"""A small model learns two pictures by heart: everything between annotations and AP fits together.

Nothing but a sound pipeline, sound targets, losses, heads and pasting lets masks agree at an IoU of
0.95, which an AP above 0.9 needs.
"""

import pytest

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import (
    AnchorConfig,
    BackboneConfig,
    BoxConfig,
    InputConfig,
    MaskConfig,
    NeckConfig,
    RPNConfig,
)
from kmrcnn.config.train_schema import (
    Experiment,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.eval.evaluate import evaluate
from kmrcnn.train.trainer import train
from tests.tiny import CLASS_NAMES, tiny_config

SIDE = 192
STEPS = 400

MODEL = tiny_config(
    input=InputConfig(short_side=SIDE, long_side=SIDE),
    backbone=BackboneConfig(
        name="resnet18",
        stem_channels=16,
        res2_channels=16,
        norm="group_norm",
        norm_groups=4,
        freeze_at=0,
    ),
    neck=NeckConfig(channels=32),
    anchors=AnchorConfig(sizes=((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))),
    rpn=RPNConfig(
        pre_nms_top_n=100,
        post_nms_top_n=50,
        pre_nms_top_n_train=200,
        post_nms_top_n_train=100,
        samples_per_image=64,
    ),
    box=BoxConfig(fc_channels=128, samples_per_image=64),
    mask=MaskConfig(num_convs=2, channels=32),
)


@pytest.mark.slow
def test_two_pictures_are_learned_to_a_mask_ap_above_nine_tenths(tmp_path):
    pictures = SyntheticScenes(
        2,
        (SIDE, SIDE),
        seed=4,
        classes=CLASS_NAMES,
        max_objects=5,
        radius=(0.12, 0.22),
        coin_fraction=0.0,
        empty_fraction=0.0,
    )
    assert min(len(example.boxes) for example in pictures) >= 3
    config = TrainConfig(
        epochs=1,
        steps_per_epoch=STEPS,
        batch_size=2,
        evaluate_every=0,
        tensorboard=False,
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=0.002,
            base_batch_size=2,
            weight_decay=0.0,
            global_clipnorm=5.0,
        ),
        schedule=ScheduleConfig(name="cosine", warmup_updates=20),
    )
    data = DataConfig(horizontal_flip=0.0, slots=(8,), mask_crop_size=112, workers=1)
    experiment = Experiment(name="two", model=MODEL, data=data, train=config)

    run = train(experiment, pictures, output=tmp_path / "run", verbose=0)
    metrics = evaluate(run.model, pictures, progress=False).metrics
    print(f"mask AP {metrics['mask_ap']:.3f}, box AP {metrics['box_ap']:.3f}")
    assert metrics["mask_ap"] > 0.9
