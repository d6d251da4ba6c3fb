"""Models for other runtimes: TF Serving, ONNX and TensorRT, LiteRT."""

from kmrcnn.export.artefact_predictor import ArtefactPredictor
from kmrcnn.export.exporter import export
from kmrcnn.export.formats import FORMATS
from kmrcnn.export.verify import verify

__all__ = ["FORMATS", "ArtefactPredictor", "export", "verify"]
