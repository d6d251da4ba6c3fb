"""An experiment and its data: classes, checkpoints, and what does not go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kmrcnn.config.data_schema import KeypointDataConfig
from kmrcnn.config.loader import list_presets, load_preset
from kmrcnn.config.schema import KeypointConfig, Preset
from kmrcnn.config.train_schema import Experiment, TrainConfig
from kmrcnn.data.example import Example


def for_classes(
    experiment: Experiment, class_names: Sequence[str], category_ids: Sequence[int] | None = None
) -> Experiment:
    """The experiment for a dataset's classes.

    Args:
        experiment: For any classes.
        class_names: The dataset's, in the order of its class numbers.
        category_ids: The dataset's numbers for them in COCO files.
    """
    model = dataclasses.replace(
        experiment.model,
        num_classes=len(class_names),
        class_names=tuple(class_names),
        category_ids=None if category_ids is None else tuple(category_ids),
    )
    return dataclasses.replace(experiment, model=model)


def source_preset(experiment: Experiment) -> Preset:
    """The preset whose checkpoints `experiment.weights` may name."""
    name = experiment.preset or experiment.name
    if name in list_presets():
        return load_preset(name)
    return Preset(experiment.name, model=experiment.model, checkpoints=experiment.checkpoints)


def settle(experiment: Experiment, train_data: Sequence[Example], replicas: int) -> Experiment:
    """The experiment as it runs: the data has the masks and keypoints that the model learns.

    Args:
        experiment: For the classes of the data.
        train_data: Its `class_names`, if it has any, are compared with the model's.
        replicas: Devices that share a step.

    Raises:
        ValueError: Classes or numbers of keypoints differ, or a setting is impossible on so many
            devices.
    """
    _require_classes(experiment, getattr(train_data, "class_names", None))
    _require_keypoints(experiment, getattr(train_data, "keypoint_names", None))
    if replicas > 1:
        _require_spreadable(experiment.train, replicas)
    model, data = experiment.model, experiment.data
    data = dataclasses.replace(
        data,
        masks=data.masks and model.mask is not None,
        keypoints=_keypoint_data(model.keypoint),
    )
    return dataclasses.replace(experiment, data=data)


def _keypoint_data(config: KeypointConfig | None) -> KeypointDataConfig | None:
    if config is None:
        return None
    return KeypointDataConfig(config.num_keypoints, config.annotation_offset, config.flip_pairs)


def _require_classes(experiment: Experiment, names: Sequence[str] | None) -> None:
    model = experiment.model
    if names is None:
        return
    if len(names) != model.num_classes:
        raise ValueError(
            f"The data has {len(names)} classes ({', '.join(names[:10])}), the model "
            f"{model.num_classes}. `for_classes(experiment, data.class_names)` fits it."
        )
    if model.class_names is not None and tuple(names) != model.class_names:
        raise ValueError(
            f"The data's classes are {list(names[:10])}, the model's {list(model.class_names[:10])}"
            ". `for_classes(experiment, data.class_names)` fits it."
        )


def _require_keypoints(experiment: Experiment, names: Sequence[str] | None) -> None:
    keypoint = experiment.model.keypoint
    if keypoint is None or names is None or len(names) == keypoint.num_keypoints:
        return
    raise ValueError(
        f"The objects of the data have {len(names)} keypoints, the model {keypoint.num_keypoints}. "
        "Set `model.keypoint.num_keypoints`, `names`, `flip_pairs`, `skeleton` and `sigmas`."
    )


def _require_spreadable(config: TrainConfig, replicas: int) -> None:
    if config.batch_size % replicas:
        raise ValueError(
            f"`train.batch_size` must be a multiple of the {replicas} devices. "
            f"Received: {config.batch_size}"
        )
    if config.optimizer.accumulation > 1:
        raise ValueError(
            "Keras cannot accumulate gradients on several devices. Set "
            "`train.optimizer.accumulation` to 1, or train on one device."
        )
