"""How close the models come to torchvision and Detectron2: the largest differences, case by case.

    python benchmarks/parity.py [--only WORD] [--json FILE]

Reads the reference cases that tests/models/test_parity.py reads (folder KMRCNN_CASES) and prints
what that test bounds: relative error of backbone and pyramid, pixels of proposals and final boxes,
scores, mask logits on the reference's detections, the share of equal pixels of the pasted masks,
pixels of keypoints, relative error of the losses of a training step. "-": the case has none.
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

COLUMNS = {
    "backbone, FPN": ".2g",
    "proposals px": ".2g",
    "boxes px": ".2g",
    "scores": ".2g",
    "mask logits": ".2g",
    "equal pixels": ".6f",
    "keypoints px": ".2g",
    "losses": ".2g",
}


def measure(name: str) -> dict[str, float]:
    """The largest differences of a case by column; columns that it has nothing for are missing."""
    run = parity.Run(name)
    row = {"backbone, FPN": _features(run), "proposals px": _proposals(run), **_detections(run)}
    if run.case.has("mid/mask_logits"):
        row["mask logits"] = _mask_logits(run)
    if run.case.stage("train/loss/"):
        row["losses"] = _losses(run)
    return row


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
    """Worst of all pictures."""
    rows = [_picture_detections(run, image) for image in range(len(run.case.images))]
    worst = {name: max(row[name] for row in rows) for name in rows[0]}
    if "equal pixels" in worst:
        worst["equal pixels"] = min(row["equal pixels"] for row in rows)
    return worst


def _picture_detections(run, image: int) -> dict[str, float]:
    case, got = run.case, parity._final(run, image)
    want = case.output(image, "boxes")
    order = parity._match(got, want, parity._labels(case, image))
    row = {
        "boxes px": np.abs(got["boxes"][order] - want).max(),
        "scores": np.abs(got["scores"][order] - case.output(image, "scores")).max(),
    }
    if got["masks"] is not None:
        masks = case.output(image, "masks")
        masks = masks[:, 0] > 0.5 if case.source == "torchvision" else masks
        row["equal pixels"] = (got["masks"][order][: len(masks)] == masks).mean()
    if got["keypoints"] is not None:
        distance = got["keypoints"][order] - case.output(image, "keypoints")
        row["keypoints px"] = np.abs(distance[..., :2]).max()
    return {name: float(value) for name, value in row.items()}


def _mask_logits(run) -> float:
    got, want = parity._mask_logits(run)
    return float(np.abs(got - want).max())


def _losses(run) -> float:
    """Largest relative error of a loss, every anchor and proposal sampled."""
    got = parity._losses(run)
    want = run.case.stage("train/loss/")
    theirs = 1 if run.case.source == "detectron2" else 0
    return max(abs(got[n] / float(want[parity.LOSS_NAMES[n][theirs]]) - 1) for n in got)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name has it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    names = [n for n in parity._case_names() if not any(w in n.lower() for w in parity.PENDING)]
    rows = {}
    print(f"{'':34}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name in (name for name in names if args.only in name):
        rows[name] = measure(name)
        cells = (
            f"{rows[name][column]:15{form}}" if column in rows[name] else f"{'-':>15}"
            for column, form in COLUMNS.items()
        )
        print(f"{name:34}" + "".join(cells), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
