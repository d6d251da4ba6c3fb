"""Tiled prediction of a large mosaic: time, memory, and how it compares with untiled prediction.

    python benchmarks/tiles.py nuclei/val/images [--side 6000] [--json FILE]

The mosaic is made of the folder's pictures, enlarged so that a tile shows objects at the size they
have in the pictures. It lies in an uncompressed TIFF file, of which only tiles are read. Memory is
the largest resident size of a process: of one that predicts one tile, and of one that predicts the
mosaic.

Compared: away from the seams, objects of tiles predicted alone must be there with the same mask; on
the seams, the sure and whole objects of windows around the corners of tiles must be there, and no
two objects may have boxes and masks with an IoU of 0.5 or more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
CHECKED = 40  # tiles and windows that are predicted alone, at most
SURE = 0.8  # least score of an object that must be found again on a seam


def main() -> None:
    args = _parse()
    if args.stage:
        stage = {"tile": predict_tile, "mosaic": predict_mosaic}[args.stage]
        print(json.dumps(stage(args)))
        return
    from PIL import Image

    from tests.mosaic import make_mosaic

    with tempfile.TemporaryDirectory() as folder:
        args.picture = Path(folder) / "mosaic.tif"
        paths = [path for path in args.pictures.iterdir() if path.is_file()]
        Image.fromarray(make_mosaic(paths, args.side, args.enlarge)).save(args.picture)
        result = {stage: _run(stage, args) for stage in ("tile", "mosaic")}
    _print(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


def predict_tile(args: argparse.Namespace) -> dict:
    predictor, pixels = _open(args)
    for _ in range(2):
        predictor.predict(pixels[: args.tile, : args.tile].copy())
    return {"peak_mib": measure.memory()[0]}


def predict_mosaic(args: argparse.Namespace) -> dict:
    from kmrcnn.tiled import TiledPredictor, tile_picture
    from tests.mosaic import compare_inside, compare_on_seams

    predictor, pixels = _open(args)
    tiled = TiledPredictor(predictor, args.tile, args.overlap)
    start = time.perf_counter()
    found = tiled.predict(args.picture)
    seconds = time.perf_counter() - start
    peak = measure.memory()[0]
    tiles = tile_picture(pixels.shape[:2], args.tile, args.overlap)
    inside = compare_inside(predictor, pixels, found, tiles, CHECKED)
    seams = compare_on_seams(predictor, pixels, found, tiles, SURE, CHECKED)
    return {
        "tiles": len(tiles),
        "objects": len(found),
        "seconds": seconds,
        "peak_mib": peak,
        "inside": inside._asdict(),
        "on_seams": seams._asdict(),
    }


def _open(args: argparse.Namespace):
    from kmrcnn import Predictor, load_model
    from kmrcnn.data.large_images import open_image

    predictor = Predictor(load_model(args.model, weights=args.weights))
    return predictor, open_image(args.picture)


def _run(stage: str, args: argparse.Namespace) -> dict:
    options = [f"--{name}={getattr(args, name)}" for name in
               ("model", "weights", "side", "tile", "overlap", "picture")]  # fmt: skip
    command = [sys.executable, __file__, str(args.pictures), f"--stage={stage}", *options]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def _print(result: dict) -> None:
    mosaic, alone = result["mosaic"], result["tile"]["peak_mib"]
    print(f"{mosaic['tiles']} tiles, {mosaic['objects']} objects, {mosaic['seconds']:.1f} s")
    print(
        f"memory: {mosaic['peak_mib']} MiB, {mosaic['peak_mib'] - alone} MiB more than for one tile"
    )
    inside, seams = mosaic["inside"], mosaic["on_seams"]
    print(f"away from the seams: {inside['equal']} of {inside['number']} objects are the same")
    print(
        f"on the seams: {seams['found']} of {seams['number']} sure objects are found again, "
        f"{seams['doubles']} objects twice"
    )


def _parse() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("pictures", type=Path, help="folder of pictures of 256 pixels or more")
    parser.add_argument("--model", default="mask_rcnn_nuclei")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--side", type=int, default=6000, help="of the mosaic (default: 6000)")
    parser.add_argument("--enlarge", type=int, default=4, help="pictures (default: 4 times)")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
