"""Our side of `train.py`, a process each: training_step.py FOLDER THREADS DEVICES."""

import os
import sys
from pathlib import Path
from unittest.mock import patch

import measure
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CROP = 112  # cells of a mask, as in `DataConfig`


def main(folder, threads, devices):
    import keras
    import tensorflow as tf

    import kmrcnn

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    strategy = _strategy(devices)
    batch = _batch(folder, devices)
    with strategy.scope():
        model = kmrcnn.load_model(folder / "model.yaml", folder / "weights.npz")
        model.compile(keras.optimizers.SGD(1e-7, momentum=0.9), jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    batches = strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensors(batch).repeat()
    )
    iterator = iter(batches)

    @tf.function
    def step(iterator):
        return strategy.run(model.train_step, (next(iterator),))

    step(iterator)
    step(iterator)
    foreground = _foreground(model, _batch(folder, 1)) if devices == 1 else None
    measure.serve(lambda: step(iterator), foreground=foreground)


def _strategy(devices):
    import tensorflow as tf

    if devices == 1:
        return tf.distribute.get_strategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, logical)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


def _batch(folder, devices):
    """The share of one device."""
    from kmrcnn.data.example import Example
    from kmrcnn.data.targets import make_targets

    photo, stored = np.load(folder / "photo.npy"), np.load(folder / "targets.npz")
    size, number = photo.shape[:2], len(stored["boxes"])
    example = Example.from_full_masks(photo, stored["masks"], range(1, number + 1))
    targets = make_targets(example, size, CROP, number)._asdict()
    targets["valid"] = np.ones(number, bool)
    one = {
        "images": photo.astype(np.float32),
        "image_sizes": np.array(size, np.int32),
        "targets": targets,
    }
    share = 2 // devices
    import tensorflow as tf

    return tf.nest.map_structure(lambda value: np.stack([value] * share), one)


def _foreground(model, batch):
    """RoIs of a step that the mask branch sees."""
    from kmrcnn.roi import roi_heads

    seen = []

    def counting(*arguments, **options):
        samples = original(*arguments, **options)
        seen.append(int(np.sum(samples.foreground)))
        return samples

    original = roi_heads.sample_rois
    with patch.object(roi_heads, "sample_rois", counting):
        model(batch, training=True)
    return seen[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
