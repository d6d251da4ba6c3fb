"""How the bundled model is made: `python -m kmrcnn.train.bundled --output FILE`."""

from __future__ import annotations

import argparse

import keras

from kmrcnn.config.data_schema import DataConfig
from kmrcnn.config.loader import load_preset
from kmrcnn.data.datasets.synthetic import SyntheticScenes
from kmrcnn.data.pipeline import make_pipeline
from kmrcnn.models.build import build_model
from kmrcnn.weights.compact import save_compact

PRESET = "mask_rcnn_r18_coins"


def train(
    steps: int,
    batch_size: int = 8,
    seed: int = 0,
    image_side: int = 256,
    callbacks: list | None = None,
) -> keras.Model:
    """Train the bundled preset on generated scenes.

    Args:
        steps: Optimiser steps; as many batches of new pictures.
        batch_size: Pictures per step.
        seed: Of the pictures, the sampling and the initial weights.
        image_side: Height and width of the pictures.
        callbacks: Keras callbacks.
    """
    keras.utils.set_random_seed(seed)
    config = load_preset(PRESET).model
    model = build_model(config, seed=seed)
    scenes = SyntheticScenes(
        steps * batch_size,
        (image_side, image_side),
        seed=seed,
        classes=config.class_names,
        coin_fraction=0.6,
    )
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps - steps // 20, warmup_target=1e-3, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=5.0))
    batches = make_pipeline(
        scenes,
        config.input,
        DataConfig(vertical_flip=0.5),
        batch_size=batch_size,
        training=True,
        seed=seed,
    )
    model.fit(batches, shuffle=False, callbacks=callbacks)  # Keras cannot shuffle tf.data
    return model


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default=f"{PRESET}.npz", help="file to write")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    save_compact(train(arguments.steps, seed=arguments.seed), arguments.output)


if __name__ == "__main__":
    main()
