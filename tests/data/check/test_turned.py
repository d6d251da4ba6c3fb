import numpy as np
import pytest
from PIL import Image, ImageOps

from kmrcnn.data.check.turned import turn_instance
from kmrcnn.data.example import MaskCrop
from kmrcnn.data.instance_masks import decode_mask
from kmrcnn.data.records import Instance
from kmrcnn.structures.masks import mask_to_rle

SIZE = (20, 30)  # of the stored picture


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("form", ["polygons", "rle", "bitmap"])
def test_annotations_turn_as_pillow_turns_the_picture(tmp_path, orientation, form):
    mask = np.zeros(SIZE, bool)
    mask[3:9, 5:20] = True
    mask[3:5, 5:20] = form == "polygons"  # otherwise a step, to tell the corners apart
    mask[3:5, 5:8] = True
    segmentation = {
        "polygons": [np.array([[5, 3], [20, 3], [20, 9], [5, 9]], float)],
        "rle": mask_to_rle(mask),
        "bitmap": MaskCrop.from_full(mask),
    }[form]
    keypoints = np.array([[5.5, 3.5, 2], [0, 0, 0]], np.float32)
    before = Instance((5, 3, 20, 9), 0, segmentation, keypoints=keypoints)
    after = turn_instance(before, orientation, SIZE)
    upright = _turn(mask, orientation, tmp_path)
    np.testing.assert_array_equal(
        decode_mask(after.segmentation, upright.shape).to_full(upright.shape), upright
    )
    rows, columns = np.flatnonzero(upright.any(1)), np.flatnonzero(upright.any(0))
    assert after.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    corner = np.zeros(SIZE, bool)
    corner[3, 5] = True
    row, column = np.argwhere(_turn(corner, orientation, tmp_path))[0]
    np.testing.assert_allclose(after.keypoints, [[column + 0.5, row + 0.5, 2], [0, 0, 0]])


def _turn(mask, orientation, folder):
    """The mask as a picture with this EXIF orientation, as Pillow shows it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png", exif=exif)
    with Image.open(folder / "mask.png") as image:
        return np.array(ImageOps.exif_transpose(image)) > 0
