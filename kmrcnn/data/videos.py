"""Videos through OpenCV: frames in, annotated frames out. OpenCV turns frames upright by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kmrcnn.data.files import written_aside

VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv".split())
FALLBACK_FRAME_RATE = 25.0  # for files that state none


class VideoInfo(NamedTuple):
    """What a video file says about itself."""

    frame_rate: float  # frames per second
    num_frames: int  # an estimate of the container; 0 if unknown
    image_size: tuple[int, int]  # (height, width)


def is_video(path: str | Path) -> bool:
    """Tells by the file name whether this is a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def video_info(path: str | Path) -> VideoInfo:
    """Reads frame rate, number of frames and size.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: OpenCV cannot open it.
    """
    with _opened(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
        return VideoInfo(
            frame_rate=rate if 0 < rate < 1000 else FALLBACK_FRAME_RATE,
            num_frames=max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0),
            image_size=(
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            ),
        )


def frames(path: str | Path, max_frames: int | None = None) -> Iterator[np.ndarray]:
    """Yields the frames of a video one by one.

    Args:
        path: The file.
        max_frames: Stop after this many; None reads all.

    Yields:
        (H, W, 3) RGB uint8.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: OpenCV cannot open it, or it has no frame.
    """
    with _opened(path) as capture:
        count = 0
        while max_frames is None or count < max_frames:
            good, frame = capture.read()
            if not good:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    if count == 0 and max_frames != 0:
        raise ValueError(f"{path} has no frame that can be decoded.")


class VideoWriter:
    """Writes RGB frames as an MP4 file, which appears under its name when all are written.

    The encoder cuts off an odd last row or column.

    Args:
        path: Ends in ``.mp4``.
        frame_rate: Frames per second.

    Example:
        >>> with VideoWriter("out.mp4", 25.0) as writer:
        ...     writer.write(frame)  # (H, W, 3) RGB uint8, all of one size
    """

    def __init__(self, path: str | Path, frame_rate: float):
        self.path = Path(path)
        self.frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        self._context = written_aside(self.path)
        self._aside = self._context.__enter__()
        return self

    def __exit__(self, *error) -> bool | None:
        if self._writer is not None:
            self._writer.release()
        return self._context.__exit__(*error)

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame, (H, W, 3) RGB uint8."""
        if self._writer is None:
            self._writer = self._open(frame)
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def _open(self, frame: np.ndarray) -> cv2.VideoWriter:
        height, width = frame.shape[:2]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._aside), codec, self.frame_rate, (width, height))
        if not writer.isOpened():
            raise ValueError(f"OpenCV cannot write {self.path}: this build has no MP4 encoder.")
        return writer


@contextmanager
def _opened(path: str | Path) -> Iterator[cv2.VideoCapture]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ValueError(f"{path} cannot be opened as a video.")
        yield capture
    finally:
        capture.release()
