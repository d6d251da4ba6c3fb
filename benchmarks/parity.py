"""How close the models come to torchvision and Detectron2: the largest differences, case by case.

    python benchmarks/parity.py [--json FILE]

Reads the reference cases that tests/models/test_parity.py reads (folder KMRCNN_CASES) and prints
what that test bounds: relative error of backbone and pyramid, pixels of proposals and final boxes,
scores, mask logits on the reference's detections, the share of equal pixels of the pasted masks.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.models import test_parity as parity  # noqa: E402

COLUMNS = ("backbone, FPN", "proposals px", "boxes px", "scores", "mask logits", "equal pixels")


def measure(name: str) -> dict[str, float]:
    run = parity.Run(name)
    return {
        "backbone, FPN": _features(run),
        "proposals px": _proposals(run),
        **_detections(run),
        "mask logits": _mask_logits(run),
    }


def _features(run) -> float:
    errors = []
    for prefix, features in (("mid/body/", run.body), ("mid/fpn/", run.pyramid)):
        for key, want in run.case.stage(prefix).items():
            got = parity.nchw(parity._level(features, key))[: len(want)]
            if run.case.is_subsampled:
                got = got[:, :: max(got.shape[1] // 16, 1), ::2, ::2]
            errors.append(parity.relative_error(got, want))
    return max(errors)


def _proposals(run) -> float:
    found = run.model.rpn(run.pyramid, run.inputs["images"], run.inputs["image_sizes"])
    errors = []
    for row, want in enumerate(parity._reference_proposals(run.case)):
        got = np.asarray(found["boxes"][row])[np.asarray(found["valid"][row])]
        errors.append(np.abs(got[:, None] - want[None]).max(-1).min(0).max())
    return float(max(errors))


def _detections(run) -> dict[str, float]:
    case, boxes, scores, pixels = run.case, [], [], []
    for image in range(len(case.images)):
        got = parity._final(run, image)
        want = case.output(image, "boxes")
        order = parity._match(got, want, parity._labels(case, image))
        boxes.append(np.abs(got["boxes"][order] - want).max())
        scores.append(np.abs(got["scores"][order] - case.output(image, "scores")).max())
        masks = case.output(image, "masks")
        masks = masks[:, 0] > 0.5 if case.source == "torchvision" else masks
        pixels.append((got["masks"][order][: len(masks)] == masks).mean())
    return {
        "boxes px": float(max(boxes)),
        "scores": float(max(scores)),
        "equal pixels": float(min(pixels)),
    }


def _mask_logits(run) -> float:
    got, want = parity._mask_logits(run)
    return float(np.abs(got - want).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    names = [n for n in parity._case_names() if not any(w in n.lower() for w in parity.PENDING)]
    rows = {}
    print(f"{'':34}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name in names:
        rows[name] = measure(name)
        print(
            f"{name:34}" + "".join(f"{rows[name][column]:15.2g}" for column in COLUMNS[:-1]), end=""
        )
        print(f"{rows[name]['equal pixels']:15.6f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
