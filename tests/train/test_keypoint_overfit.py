"""A small model learns the joints of four persons by heart, together with their masks.

Nothing but sound keypoints in the pipeline, sound targets, loss, decoding and scoring lets the
similarity of joints reach 0.95, which an AP above 0.9 needs.
"""

import pytest

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.loader import load_preset
from kmrcnn.config.schema import (
    AnchorConfig,
    BackboneConfig,
    BoxConfig,
    InputConfig,
    KeypointConfig,
    MaskConfig,
    ModelConfig,
    NeckConfig,
    RPNConfig,
)
from kmrcnn.config.train_schema import (
    Experiment,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)
from kmrcnn.data.datasets import open_dataset
from kmrcnn.eval.evaluate import evaluate
from kmrcnn.train.trainer import train

PHOTOGRAPHS = (42102, 480936, 473406, 481386)  # large persons with all 17 keypoints
SIDE = 256
STEPS = 500
PERSON = load_preset("keypoint_rcnn_R_50_FPN_3x").model

MODEL = ModelConfig(
    num_classes=1,
    class_names=("person",),
    category_ids=(1,),
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
    box=BoxConfig(fc_channels=128, samples_per_image=32),
    mask=MaskConfig(num_convs=2, channels=32),
    keypoint=KeypointConfig(
        names=PERSON.keypoint.names,
        flip_pairs=PERSON.keypoint.flip_pairs,
        skeleton=PERSON.keypoint.skeleton,
        num_convs=3,
        channels=64,
    ),
)


@pytest.mark.slow
@pytest.mark.realdata
def test_four_persons_are_learned_to_a_keypoint_ap_above_nine_tenths(data_dir, tmp_path):
    folder = data_dir / "coco_person"
    people = open_dataset(folder / "annotations/person_keypoints_train.json", folder / "train")
    numbers = {record.image_id: index for index, record in enumerate(people.records)}
    people = people.subset([numbers[name] for name in PHOTOGRAPHS])
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
    data = DataConfig(horizontal_flip=0.0, slots=(4,), workers=1)
    experiment = Experiment(name="four", model=MODEL, data=data, train=config)

    run = train(experiment, people, output=tmp_path / "run", verbose=0)
    metrics = evaluate(run.model, people, progress=False).metrics
    print({name: round(metrics[name], 3) for name in ("box_ap", "mask_ap", "keypoint_ap")})
    assert metrics["keypoint_ap"] > 0.9
