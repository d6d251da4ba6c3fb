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
    facts = {"import_s": IMPORT_S, "load_s": time.perf_counter() - start}
    facts |= {"torch": torch.__version__, "torchvision": torchvision.__version__}
    model([photo])
    facts["detections"] = len(model([photo])[0]["scores"])
    return measure.serve(lambda: model([photo]), **facts)


def build(preset, size, detections):
    options = {"min_size": min(size), "max_size": max(size), "box_detections_per_img": detections}
    if preset == "maskrcnn_resnet50_fpn":  # which has frozen batch norm only with weights
        backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
        return detection.MaskRCNN(backbone, 91, **options).eval()
    return getattr(detection, preset)(weights=None, weights_backbone=None, **options).eval()


def calibrate(model, photo, folder):
    """As ours: unit scale after every norm, class logits of unit spread."""

    def set_statistics(norm, inputs):
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3), unbiased=False))

    predictor = model.roi_heads.box_predictor
    norms = [module for module in model.modules() if "BatchNorm" in type(module).__name__]
    hooks = [norm.register_forward_pre_hook(set_statistics) for norm in norms]
    seen = []
    hooks += [predictor.register_forward_hook(lambda _, i, outputs: seen.append(outputs[0]))]
    model([photo])
    spread = (seen[0] - seen[0].mean(0)).std()
    predictor.cls_score.bias.sub_(seen[0].mean(0)).div_(spread)
    predictor.cls_score.weight.div_(spread)
    found = model([photo])  # now with detections, for the norms of the mask branch
    for hook in hooks:
        hook.remove()
    torch.save(model.state_dict(), folder / FILE)
    print(json.dumps({"proposals": len(seen[0]), "detections": len(found[0]["scores"])}))


if __name__ == "__main__":
    with torch.inference_mode():
        main(*sys.argv[1:])
