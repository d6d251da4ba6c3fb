"""A predictor that needs no network: it finds the bright rectangle of each picture."""

from types import SimpleNamespace

from kmrcnn.data.example import MaskCrop
from kmrcnn.structures.detections import Detections


class Oracle:
    """Says class 0; has masks unless told otherwise."""

    def __init__(self, names=("cat", "dog"), masks=True, batch_size=1):
        self.config = SimpleNamespace(
            class_names=names,
            num_classes=len(names),
            mask=SimpleNamespace() if masks else None,
            keypoint=None,
        )
        self.batch_size = batch_size
        self.batches = []

    def predict(self, pictures):
        self.batches.append(len(pictures))
        return [self._one(picture) for picture in pictures]

    def _one(self, picture):
        crop = MaskCrop.from_full(picture[..., 0] > 128)
        return Detections(
            boxes=crop.box()[None],
            scores=[0.9],
            classes=[0],
            image_size=picture.shape[:2],
            masks=crop.to_full(picture.shape[:2])[None] if self.config.mask else None,
            class_names=self.config.class_names,
        )
