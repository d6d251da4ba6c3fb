"""The work of `kmrcnn predict`: inputs that cannot be read are reported and skipped."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from kmrcnn.cli.outputs import OutputFolder, image_ids, unique_names
from kmrcnn.data.images import read_image
from kmrcnn.data.videos import VideoInfo, VideoWriter, frames, is_video, video_info
from kmrcnn.structures.detections import Detections

if TYPE_CHECKING:
    from kmrcnn.predictor import Predictor


@dataclass
class PredictionRun:
    """One run over a list of inputs.

    Attributes:
        predictor: Finds the objects.
        output: Where the results go.
        channels: Of the pictures the model wants.
        classes: Class numbers to keep; None keeps all.
        batch_size: Pictures or frames per call of the predictor.
        explain: Also write how each picture's detections came about.
        max_frames: Of each video; None takes all.
        read: (path, channels) -> picture as an array.
    """

    predictor: Predictor
    output: OutputFolder
    channels: int = 3
    classes: Sequence[int] | None = None
    batch_size: int = 1
    explain: bool = False
    max_frames: int | None = None
    read: Callable[[Path, int], np.ndarray] = read_image
    num_pictures: int = field(default=0, init=False)
    counts: Counter = field(default_factory=Counter, init=False)
    failed: list[Path] = field(default_factory=list, init=False)

    def run(self, inputs: Sequence[Path]) -> int:
        """Goes through pictures, then videos; gives 0, or 1 if some input failed."""
        start = time.perf_counter()
        names = dict(zip(inputs, unique_names(inputs)))
        videos = [path for path in inputs if is_video(path)]
        pictures = [path for path in inputs if not is_video(path)]
        ids = image_ids(pictures)
        try:
            self._predict_pictures(pictures, names, ids)
            next_id = max(ids, default=0) + 1
            for path in videos:
                next_id += self._predict_video(path, names[path], next_id)
        finally:  # an interrupted run keeps what it has
            self.output.write_coco()
        self._print_summary(time.perf_counter() - start)
        return 1 if self.failed else 0

    def _predict_pictures(self, paths: list[Path], names: dict[Path, str], ids: list[int]) -> None:
        with tqdm(total=len(paths), unit="picture", disable=None if paths else True) as bar:
            for chunk in _chunks(zip(paths, ids), self.batch_size):
                images = {path: self._read(path) for path, _ in chunk}
                read = [path for path, image in images.items() if image is not None]
                results = dict(zip(read, self._detect([images[path] for path in read])))
                for path, image_id in chunk:
                    if path in results:
                        self._keep(path, names[path], image_id, images[path], results[path])
                bar.update(len(chunk))

    def _predict_video(self, path: Path, name: str, first_id: int) -> int:
        """Gives the number of frames done."""
        try:
            info = video_info(path)
        except (ValueError, OSError) as error:
            self._report(path, error)
            return 0
        height, width = info.image_size
        print(f"{path}: video, {width}x{height}, {info.frame_rate:g} frames/s")
        counts: Counter = Counter()
        done = 0
        try:
            for index, (image, found) in enumerate(self._video_frames(path, name, info)):
                file_name = f"{path.as_posix()}#{index}"
                self.output.add(f"{name}_{index:06d}", first_id + index, file_name, image, found)
                counts.update(found.counts())
                done += 1
        except ValueError as error:
            self._report(path, error)
        self.num_pictures += done
        self.counts += counts
        print(f"{path}: {done} frames, {_listing(counts)}")
        return done

    def _video_frames(
        self, path: Path, name: str, info: VideoInfo
    ) -> Iterator[tuple[np.ndarray, Detections]]:
        """Yields each frame with its detections, and writes the drawn ones as a video."""
        total = min(filter(None, (info.num_frames, self.max_frames)), default=None)
        bar = tqdm(frames(path, self.max_frames), total=total, unit="frame", disable=None)
        if "overlay" not in self.output.kinds:
            yield from self._detected(bar)
            return
        with VideoWriter(self.output.root / "overlay" / f"{name}.mp4", info.frame_rate) as writer:
            for image, found in self._detected(bar):
                writer.write(self.output.draw(image, found))
                yield image, found

    def _detected(self, images: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Detections]]:
        for chunk in _chunks(images, self.batch_size):
            for image, found in zip(chunk, self.predictor.predict(chunk)):
                yield image, found.filter(classes=self.classes)

    def _read(self, path: Path) -> np.ndarray | None:
        try:
            return self.read(path, self.channels)
        except (ValueError, OSError) as error:
            self._report(path, error)
            return None

    def _detect(self, images: list[np.ndarray]) -> list[Any]:
        """One result per picture: `Detections`, `Explanation`, or the ValueError that it raised."""
        if len(images) > 1 and not self.explain:
            try:
                return self.predictor.predict(images)
            except ValueError:
                pass  # one of them; which, shows one by one
        predict = self.predictor.explain if self.explain else self.predictor.predict
        return [_result_or_error(predict, image) for image in images]

    def _keep(self, path: Path, name: str, image_id: int, image: np.ndarray, result: Any) -> None:
        if isinstance(result, ValueError):
            self._report(path, result)
            return
        if self.explain:
            self.output.add_explanation(name, image, result)
            tqdm.write(f"{path}: how it came about\n{result.summary()}")
            result = result.detections
        found = replace(result, source=path).filter(classes=self.classes)
        self.output.add(name, image_id, path.as_posix(), image, found)
        self.num_pictures += 1
        self.counts.update(found.counts())
        tqdm.write(f"{path}: {_listing(found.counts())}")

    def _report(self, path: Path, error: Exception) -> None:
        self.failed.append(path)
        text = str(error)
        named = text if str(path) in text else f"{path}: {text}"
        tqdm.write(f"skipped: {named}", file=sys.stderr)

    def _print_summary(self, seconds: float) -> None:
        rate = self.num_pictures / max(seconds, 1e-9)
        objects = f"{sum(self.counts.values())} objects ({_listing(self.counts)})"
        print(
            f"{self.num_pictures} pictures, {objects}, {seconds:.1f} s, {rate:.2f} pictures/s; "
            f"written to {self.output.root}"
        )
        if self.failed:
            skipped = ", ".join(map(str, self.failed))
            print(f"{len(self.failed)} skipped: {skipped}", file=sys.stderr)


def _result_or_error(predict: Any, image: np.ndarray) -> Any:
    try:
        return predict(image)
    except ValueError as error:
        return error


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _listing(counts: dict[str, int]) -> str:
    most = Counter(counts).most_common()
    return ", ".join(f"{name} {count}" for name, count in most) or "nothing found"
