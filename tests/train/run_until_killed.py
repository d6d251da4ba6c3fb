"""Begins a run and kills itself, without a chance to tidy up, within the second epoch: FOLDER."""

import os
import signal
import sys

import keras

from kmrcnn.train.trainer import train
from tests.train.test_resume import DATA, EXPERIMENT, VALIDATION


class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 4 + 2:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    train(EXPERIMENT, DATA, VALIDATION, sys.argv[1], callbacks=[Kill()], verbose=0)
