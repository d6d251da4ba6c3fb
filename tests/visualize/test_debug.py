"""One picture per stage."""

import numpy as np
import pytest

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.explanation import Explanation
from kmrcnn.visualize.debug import LEVEL_COLORS, STATUS_COLORS, draw_explanation

IMAGE = np.full((300, 400, 3), 100, np.uint8)


def explanation(**changes) -> Explanation:
    box, other = [200.0, 100.0, 300.0, 250.0], [210.0, 120.0, 320.0, 270.0]
    fields = {
        "proposals": np.array([box, other]),
        "objectness": np.array([1.0, 1.0]),
        "levels": np.array([4, 5]),
        "roi_levels": np.array([4, 4]),
        "boxes": np.array([box, other]),
        "scores": np.array([1.0, 1.0]),
        "classes": np.array([0, 0]),
        "proposal_index": np.array([0, 1]),
        "status": np.array(["kept", "nms"]),
        "suppressed_by": np.array([-1, 0]),
        "num_below_threshold": 0,
        "score_threshold": 0.05,
        "nms_threshold": 0.5,
        "max_detections": 100,
        "detections": Detections([box], [1.0], [0], (300, 400)),
    }
    return Explanation(**{**fields, **changes})


def near(picture, row, column, color) -> bool:
    """Whether some pixel within 2 px has about this colour."""
    patch = picture[row - 2 : row + 3, column - 2 : column + 3].astype(int)
    return bool((np.abs(patch - np.array(color)).max(axis=-1) < 30).any())


def test_stages_are_drawn_in_their_colors():
    pictures = draw_explanation(IMAGE, explanation())
    assert list(pictures) == ["1_proposals", "2_scored", "3_removed", "4_detections"]
    assert all(p.shape == IMAGE.shape and p.dtype == np.uint8 for p in pictures.values())
    assert near(pictures["1_proposals"], 170, 200, LEVEL_COLORS[4])
    assert near(pictures["1_proposals"], 200, 320, LEVEL_COLORS[5])
    assert near(pictures["3_removed"], 170, 200, STATUS_COLORS["kept"])
    assert near(pictures["3_removed"], 260, 320, STATUS_COLORS["nms"])
    centers = (185, 257)  # on the line from the removed box to the one that removed it
    assert near(pictures["3_removed"], *centers, STATUS_COLORS["nms"])


def test_only_the_best_boxes_are_drawn():
    few = draw_explanation(IMAGE, explanation(objectness=np.array([1.0, 0.9])), max_boxes=1)
    assert near(few["1_proposals"], 170, 200, LEVEL_COLORS[4])
    assert not near(few["1_proposals"], 200, 320, LEVEL_COLORS[5])


def test_nothing_proposed():
    nothing = {name: getattr(explanation(), name)[:0] for name in ARRAYS}
    empty = explanation(**nothing, detections=Detections.empty((300, 400)))
    assert len(draw_explanation(IMAGE, empty)) == 4


def test_wrong_size_is_rejected():
    with pytest.raises(ValueError, match="explained picture"):
        draw_explanation(IMAGE[:100], explanation())


ARRAYS = (
    "proposals objectness levels roi_levels boxes scores classes proposal_index status "
    "suppressed_by"
).split()
