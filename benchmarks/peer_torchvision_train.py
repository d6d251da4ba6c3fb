"""torchvision's side of `train.py`: peer_torchvision_train.py FOLDER THREADS PRESET DETECTIONS."""

import sys
from pathlib import Path

import measure
import numpy as np
import torch
from peer_torchvision import FILE, build


def main(folder, threads, preset, detections):
    torch.set_num_threads(int(threads))
    photo = torch.from_numpy(np.load(folder / "photo.npy")).permute(2, 0, 1) / 255
    stored = np.load(folder / "targets.npz")
    target = {
        "boxes": torch.from_numpy(stored["boxes"]),
        "labels": torch.arange(1, len(stored["boxes"]) + 1),
        "masks": torch.from_numpy(stored["masks"].astype(np.uint8)),
    }
    model = build(preset, photo.shape[1:], int(detections)).train()
    model.load_state_dict(torch.load(folder / FILE))
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1e-7, momentum=0.9)

    def step():
        optimizer.zero_grad()
        sum(model([photo] * 2, [target] * 2).values()).backward()
        optimizer.step()

    foreground = _foreground(model, step)
    step()
    measure.serve(step, foreground=foreground)


def _foreground(model, step):
    """RoIs of a step that the mask branch sees."""
    seen = []
    original = model.roi_heads.select_training_samples

    def counting(*arguments):
        samples = original(*arguments)
        seen.append(sum(int((labels > 0).sum()) for labels in samples[2]))
        return samples

    model.roi_heads.select_training_samples = counting
    step()
    model.roi_heads.select_training_samples = original
    return seen[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
