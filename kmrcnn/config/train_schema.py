"""Every setting of a training run, its default and its meaning, and the experiment they belong to.

The defaults are Detectron2's 1x recipe: 12 epochs of COCO, 16 pictures per step, learning rate
0.02, two steps down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kmrcnn.config.checks import require_choice, require_fraction, require_positive
from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.schema import Checkpoint, ModelConfig

FreezePlan = Literal[
    "as_model", "none", "stem", "res2", "res3", "res4", "backbone", "all_but_heads"
]


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become steps."""

    # momentum and L2 decay as PyTorch computes them (Sutskever et al. 2013, in its form) | AdamW
    # (Loshchilov & Hutter 2019)
    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.02  # for a batch of `base_batch_size`; it scales with the batch
    base_batch_size: int = 16  # pictures per update that `learning_rate` was chosen for
    momentum: float = 0.9  # of sgd
    beta_1: float = 0.9  # of adamw
    beta_2: float = 0.999  # of adamw
    weight_decay: float = 1e-4
    decay_norms: bool = False  # whether scales and offsets of normalisation layers decay
    decay_biases: bool = True
    global_clipnorm: float | None = None  # longest gradient, over all weights
    clipnorm: float | None = None  # longest gradient of each weight
    clipvalue: float | None = None  # largest entry of the gradient
    accumulation: int = 1  # steps whose gradients are averaged into one update
    # share of the old average kept in each update; None: no moving average of the weights
    ema_momentum: float | None = None

    def __post_init__(self):
        require_choice(self, "name")
        require_positive(self, "learning_rate", "base_batch_size", "accumulation")
        require_fraction(self, "momentum", "beta_1", "beta_2")
        if self.weight_decay < 0:
            raise ValueError(f"`weight_decay` must not be negative. Received: {self.weight_decay}")
        if self.ema_momentum is not None:
            require_fraction(self, "ema_momentum")
        clips = ("global_clipnorm", "clipnorm", "clipvalue")
        given = [name for name in clips if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"Only one of {list(clips)} can be set. Received: {given}")
        require_positive(self, *given)


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate goes over the run."""

    name: Literal["constant", "multi_step", "cosine"] = "multi_step"
    # updates of linear warm-up, but at most a tenth of the run; 0: none
    warmup_updates: int = 1000
    warmup_factor: float = 0.001  # share of the learning rate that the warm-up starts from
    milestones: tuple[float, ...] = (8.0, 11.0)  # of multi_step: epochs after which it drops ...
    gamma: float = 0.1  # ... to this share
    final_factor: float = 0.0  # of cosine: share of the learning rate at the end

    def __post_init__(self):
        require_choice(self, "name")
        require_fraction(self, "warmup_factor", "gamma", "final_factor")
        if self.warmup_updates < 0:
            raise ValueError(
                f"`warmup_updates` must not be negative. Received: {self.warmup_updates}"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"`milestones` must be ascending. Received: {self.milestones}")


@dataclass(frozen=True)
class TrainConfig:
    """A run: how long, on what, how, and what it keeps."""

    epochs: int = 12
    steps_per_epoch: int | None = None  # None: once over the data set
    batch_size: int = 16  # pictures per step, all devices together
    seed: int = 0  # of initial weights, order of the data, augmentation and sampling
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    # what does not learn: what `model.backbone.freeze_at` says | nothing | the stem | the stem and
    # stages up to this one | the backbone | all but the RPN's, box and mask heads
    freeze: FreezePlan = "as_model"
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    # factors by name, such as {loss_mask: 2.0}; 1 for those not named
    loss_weights: dict[str, float] = field(default_factory=dict)
    evaluate_every: int = 1  # epochs between two measurements of AP; 0: never
    # what the best weights are chosen by; with "loss" in its name lower is better; "auto": mask AP,
    # keypoint AP, box AP or the validation loss, the first that there is
    monitor: str = "auto"
    # measurements of `monitor` in a row without a better one, after which the run ends; 0: never
    patience: int = 0
    # several devices: as the machine offers | one device | this machine's GPUs | the machines that
    # TF_CONFIG names
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    tensorboard: bool = True  # write scalars, and pictures of predictions
    prediction_images: int = 4  # pictures of the validation set drawn for TensorBoard

    def __post_init__(self):
        require_choice(self, "precision", "strategy")
        require_choice(self, "freeze", annotation=FreezePlan)
        require_positive(self, "epochs", "batch_size")
        for name in ("evaluate_every", "patience", "prediction_images", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`train.{name}` must not be negative. Received: {getattr(self, name)}"
                )
        if self.steps_per_epoch is not None:
            require_positive(self, "steps_per_epoch")
        if any(weight < 0 for weight in self.loss_weights.values()):
            raise ValueError(
                f"`train.loss_weights` must not be negative. Received: {self.loss_weights}"
            )


@dataclass(frozen=True)
class Experiment:
    """A training configuration: a model, its data and its training.

    `load_experiment` reads it from YAML. A preset without a `train` section is an experiment with
    the defaults.
    """

    name: str = ""
    description: str = ""
    # preset whose model this one starts from, and whose checkpoints `weights` may name
    preset: str | None = None
    weights: str | None = None  # what to start from: a checkpoint's name, a file, None: random
    model: ModelConfig = field(default_factory=ModelConfig)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)  # published results of it
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
