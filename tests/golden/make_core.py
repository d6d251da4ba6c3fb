"""Makes core.npz, the numbers of tests/test_golden.py: a few rows of the reference cases.

The cases were computed with torchvision and Detectron2 on a CPU in float32; their versions are
stored under "versions". Run: python make_core.py FOLDER_OF_THE_CASES
"""

import json
import sys
from pathlib import Path

import numpy as np


def load(folder: Path, name: str) -> tuple[dict, dict]:
    return dict(np.load(folder / f"{name}.npz")), json.loads((folder / f"{name}.json").read_text())


def roi_align(folder: Path) -> dict:
    """One map, 8 RoIs, size 7: adaptive and 2 samples, aligned and not."""
    arrays, info = load(folder, "roi_align")
    out = {}
    for case in info["cases"]:
        if case["x"] != "x_1_5_16_16_0.25" or case["output_size"] != [7, 7]:
            continue
        out["roi_align/map"] = arrays[case["x"]]
        out["roi_align/rois"] = arrays[case["rois"]][:8]
        name = f"roi_align/{case['sampling_ratio']}_{'aligned' if case['aligned'] else 'plain'}"
        out[name] = arrays[f"{case['case']}_out"][:8]
    return out


def nms(folder: Path) -> dict:
    """60 boxes, 300 boxes by class: which ones stay."""
    arrays, info = load(folder, "nms_iou")
    thresholds = {case["case"]: case["iou_threshold"] for case in info["cases"]}
    out = {}
    for case in ("c1", "c4"):
        for name in ("boxes", "scores", "classes", "nms", "batched", "batched_d2"):
            out[f"nms/{case}_{name}"] = arrays[f"{case}_{name}"]
        out[f"nms/{case}_threshold"] = np.float32(thresholds[case])
    return out


def paste(folder: Path) -> dict:
    """Three masks in a picture of 60 x 75, pasted by both rules."""
    arrays, _ = load(folder, "masks")
    return {
        "paste/masks": arrays["masks"][:3, 0],
        "paste/boxes": arrays["boxes"][:3],
        "paste/integer_box": arrays["tv"][:3, 0],
        "paste/grid_sample": arrays["d2_bool"][:3],
    }


def anchors(folder: Path) -> dict:
    """Every 41st anchor of five levels."""
    arrays, info = load(folder, "anchors")
    case = info["cases"][0]
    return {
        "anchors/image": np.array(case["image"]),
        "anchors/grid": np.array(case["grid"]),
        "anchors/tv": arrays["tv0"][::41],
        "anchors/d2": arrays["d2_0_off0"][::41],
    }


def box_coder(folder: Path) -> dict:
    arrays, _ = load(folder, "box_coder")
    names = ("anchors", "gt", "deltas", "enc_box", "dec_box", "d2_enc_box", "d2_dec_box")
    return {f"box_coder/{name}": arrays[name][:10] for name in names}


def box_postprocess(folder: Path) -> dict:
    """The first image: 35 proposals, 20 detections."""
    arrays, _ = load(folder, "box_postprocess")
    names = ("tv_boxes0", "tv_scores0", "tv_labels0", "d2_boxes0", "d2_scores0", "d2_classes0")
    out = {f"box_postprocess/{name}": arrays[name] for name in names}
    for name in ("proposals", "cls_logits", "box_deltas"):
        out[f"box_postprocess/{name}"] = arrays[name][:35]
    return out


if __name__ == "__main__":
    source = Path(sys.argv[1])
    core = {"versions": np.array(json.dumps(load(source, "roi_align")[1]["versions"]))}
    for part in (roi_align, nms, paste, anchors, box_coder, box_postprocess):
        core |= part(source)
    np.savez_compressed(Path(__file__).resolve().parent / "core.npz", **core)
