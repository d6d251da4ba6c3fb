"""Videos written and read again."""

import numpy as np
import pytest

from kmrcnn.data.videos import VideoWriter, frames, is_video, video_info


@pytest.fixture
def clip(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", 12.5) as writer:
        for step in range(6):
            frame = np.zeros((48, 64, 3), np.uint8)
            frame[..., 0] = 40 * step  # red grows
            writer.write(frame)
    return tmp_path / "clip.mp4"


def test_written_video_reads_back(clip):
    info = video_info(clip)
    assert info.frame_rate == pytest.approx(12.5)
    assert (info.num_frames, info.image_size) == (6, (48, 64))
    found = list(frames(clip))
    assert len(found) == 6 and found[0].shape == (48, 64, 3)
    means = np.array([frame.mean(axis=(0, 1)) for frame in found])
    assert np.abs(means[:, 0] - 40 * np.arange(6)).max() < 12  # lossy, and red stays red
    assert means[:, 2].max() < 12


def test_max_frames_stops_early(clip):
    assert len(list(frames(clip, max_frames=2))) == 2


def test_failed_writing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "clip.mp4", 25.0) as writer:
        writer.write(np.zeros((48, 64, 3), np.uint8))
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        list(frames(tmp_path / "none.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(ValueError, match=r"bad\.mp4"):
        list(frames(tmp_path / "bad.mp4"))


def test_is_video_goes_by_name():
    assert is_video("A.MP4") and not is_video("a.jpg")
