"""Training configurations: layers of YAML, overrides, what is refused."""

import pytest

from kmrcnn.config.loader import dump, load_experiment, load_preset
from kmrcnn.config.train_schema import OptimizerConfig, ScheduleConfig, TrainConfig

OWN = """\
preset: mask_rcnn_R_50_FPN_3x
weights: coco
model: {num_classes: 2, class_names: [cat, dog], category_ids: null, box: {nms_threshold: 0.4}}
data: {vertical_flip: 0.5}
train: {epochs: 3, optimizer: {learning_rate: 0.01}}
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def test_a_file_lies_above_its_presets_model(own):
    experiment = load_experiment(own, ["train.epochs=7", "data.workers=1"])
    published = load_preset("mask_rcnn_R_50_FPN_3x").model
    assert experiment.name == "own"
    assert experiment.model.class_names == ("cat", "dog")
    assert experiment.model.box.nms_threshold == 0.4
    assert experiment.model.backbone == published.backbone
    assert experiment.model.input == published.input
    assert (experiment.train.epochs, experiment.train.optimizer.learning_rate) == (7, 0.01)
    assert experiment.train.optimizer.momentum == 0.9
    assert (experiment.data.vertical_flip, experiment.data.workers) == (0.5, 1)


def test_the_written_configuration_is_the_experiment(own, tmp_path):
    experiment = load_experiment(own)
    (tmp_path / "config.yaml").write_text(dump(experiment))
    assert load_experiment(tmp_path / "config.yaml") == experiment


def test_a_preset_trains_with_the_defaults_and_a_training_file_is_a_preset(own):
    assert load_experiment("maskrcnn_resnet50_fpn").train == TrainConfig()
    assert load_preset(own).model == load_experiment(own).model


@pytest.mark.parametrize("name", ["mask_rcnn_nuclei", "mask_rcnn_balloon"])
def test_published_training_configurations_load(name):
    experiment = load_experiment(name)
    assert experiment.model.num_classes == 1 == len(experiment.model.class_names)
    assert load_preset(name).model == experiment.model


@pytest.mark.parametrize(
    "override,parts",
    [
        ("train.epoch=3", ["train.epoch", "train.epochs"]),
        ("train.optimizer.name=adam", ["train.optimizer.name", "adamw"]),
        ("train.batch_size=0", ["batch_size", "positive"]),
        ("train.freeze=res5", ["train.freeze", "all_but_heads"]),
        ("train.loss_weights={loss_mask: heavy}", ["loss_weights.loss_mask", "number"]),
        ("data.horizontal_flip=2", ["horizontal_flip"]),
    ],
)
def test_mistakes_are_named(own, override, parts):
    with pytest.raises(ValueError) as caught:
        load_experiment(own, [override])
    assert all(part in str(caught.value) for part in parts)


def test_a_preset_of_a_preset_is_refused(own, tmp_path):
    (tmp_path / "above.yaml").write_text(f"preset: {own}\n")
    with pytest.raises(ValueError, match="names a `preset` itself"):
        load_experiment(tmp_path / "above.yaml")


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: OptimizerConfig(accumulation=0), "accumulation"),
        (lambda: OptimizerConfig(ema_momentum=1.5), "ema_momentum"),
        (lambda: OptimizerConfig(weight_decay=-1.0), "weight_decay"),
        (lambda: ScheduleConfig(milestones=(11.0, 8.0)), "ascending"),
        (lambda: ScheduleConfig(warmup_updates=-1), "warmup_updates"),
        (lambda: TrainConfig(patience=-1), "patience"),
        (lambda: TrainConfig(loss_weights={"loss_mask": -1.0}), "loss_weights"),
    ],
)
def test_impossible_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
