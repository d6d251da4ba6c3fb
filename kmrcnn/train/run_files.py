"""The files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kmrcnn.config.loader import dump
from kmrcnn.config.train_schema import Experiment
from kmrcnn.data.files import written_aside
from kmrcnn.train.distribution import Worker


@dataclass(frozen=True)
class RunFiles:
    """Names in the folder of a run.

    Attributes:
        folder: The folder; workers share it.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """The whole configuration, every default written out; `load_experiment` reads it."""
        return self.folder / "config.yaml"

    @property
    def snapshot(self) -> Path:
        """What a resumed run starts from."""
        return self.folder / "snapshot.npz"

    @property
    def history(self) -> Path:
        """Losses, AP and learning rate per epoch."""
        return self.folder / "history.json"

    @property
    def best(self) -> Path:
        """The model of the best epoch."""
        return self.folder / "best.keras"

    @property
    def model(self) -> Path:
        """The model after the last epoch."""
        return self.folder / "model.keras"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's folder."""
        return self.folder / "tensorboard"

    def begin(self, resume: bool, worker: Worker) -> None:
        """Makes the folder.

        Raises:
            ValueError: It holds a run and this is to be a new one.
        """
        if self.snapshot.exists() and not resume:
            raise ValueError(
                f"{str(self.folder)!r} holds a run already. Resume it (--resume), or choose "
                "another folder."
            )
        if worker.is_chief:
            self.folder.mkdir(parents=True, exist_ok=True)

    def write_config(self, experiment: Experiment) -> None:
        """Writes the configuration."""
        with written_aside(self.config) as aside:
            aside.write_text(dump(experiment))
