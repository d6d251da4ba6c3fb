"""Writing datasets: COCO JSON, LabelMe, TFRecord."""

from kmrcnn.data.writers.coco import write_coco
from kmrcnn.data.writers.labelme import write_labelme
from kmrcnn.data.writers.tfrecord import write_tfrecord

__all__ = ["write_coco", "write_labelme", "write_tfrecord"]
