"""One worker of a run; TF_CONFIG says which: FOLDER WEIGHTS_FILE [resume] [kill].

With "kill" the worker kills itself within the second epoch.
"""

import os
import signal
import sys

import keras
import numpy as np

from kmrcnn.train.trainer import train
from tests.train.scenes import experiment, rectangles


class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 2 + 1:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, file: str, *options: str) -> None:
    result = train(
        experiment("sync_batch_norm"),
        rectangles(8),
        rectangles(4, seed=1),
        folder,
        resume="resume" in options,
        callbacks=[Kill()] if "kill" in options else [],
        verbose=0,
    )
    weights = {weight.path: weight.numpy() for weight in result.model.weights}
    losses = [[v for k, v in row.items() if "loss" in k] for row in result.history]
    np.savez(file, **weights, losses=np.array(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
