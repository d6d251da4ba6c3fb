"""torchvision's side of `predict.py`, for an interpreter that has torchvision and not kmrcnn.

peer_torchvision.py calibrate|total|channels_last FOLDER THREADS PRESET DETECTIONS
"""

import json
import sys
import time
from pathlib import Path

import measure
import numpy as np

START = time.perf_counter()
import torch  # noqa: E402
import torchvision  # noqa: E402
from torchvision.models import detection  # noqa: E402
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone  # noqa: E402

IMPORT_S = time.perf_counter() - START
FILE = "torchvision.pth"


def build(preset, size, detections):
    """The model as its published weights want it: the first generation with frozen batch norm."""
    options = {"min_size": min(size), "max_size": max(size)}
    options |= {"box_detections_per_img": detections}
    if preset.endswith("_v2"):
        model = getattr(detection, preset)(weights=None, weights_backbone=None, **options)
    else:
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
        network = detection.MaskRCNN if preset.startswith("mask") else detection.FasterRCNN
        model = network(backbone, 91, **options)
    return model.eval()


def calibrate(model, photo, folder):
    """As ours: unit scale after every norm, class logits of unit spread."""

    def set_statistics(norm, inputs):
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3), unbiased=False))

    predictor = model.roi_heads.box_predictor
    seen = {}
    hooks = [
        module.register_forward_pre_hook(set_statistics)
        for module in model.modules()
        if "BatchNorm" in type(module).__name__
    ]
    hooks += [predictor.register_forward_hook(lambda _, i, outputs: seen.update(logits=outputs[0]))]
    model([photo])
    logits = seen["logits"]
    spread = (logits - logits.mean(0)).std()
    predictor.cls_score.bias.sub_(logits.mean(0)).div_(spread)
    predictor.cls_score.weight.div_(spread)
    found = model([photo])  # now with detections, for the norms of the mask branch
    for hook in hooks:
        hook.remove()
    torch.save(model.state_dict(), folder / FILE)
    candidates = (seen["logits"].softmax(-1)[:, 1:] > model.roi_heads.score_thresh).sum()
    numbers = {"proposals": len(logits), "candidates": int(candidates)}
    print(json.dumps(numbers | {"detections": len(found[0]["scores"])}))


def main(verb, folder, threads, preset, detections):
    torch.set_num_threads(int(threads))
    photo = torch.from_numpy(np.load(Path(folder) / "photo.npy")).permute(2, 0, 1) / 255
    start = time.perf_counter()
    model = build(preset, photo.shape[1:], int(detections))
    if verb == "calibrate":
        return calibrate(model, photo, Path(folder))
    model.load_state_dict(torch.load(Path(folder) / FILE))
    if verb == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    ready = {"import_s": IMPORT_S, "load_s": time.perf_counter() - start}
    ready |= {"torch": torch.__version__, "torchvision": torchvision.__version__}
    model([photo])
    ready["detections"] = len(model([photo])[0]["scores"])
    return measure.serve(lambda: model([photo]), **ready)


if __name__ == "__main__":
    with torch.inference_mode():
        main(*sys.argv[1:])
