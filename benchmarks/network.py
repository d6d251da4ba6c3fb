"""Workers of `predict.py`, one process each: python network.py calibrate|total|stages FOLDER.

FOLDER holds model.yaml and photo.npy; `calibrate` adds weights.npz.
"""

import json
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import measure
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
FEW = 5  # detections, to see what the mask branch costs on most pictures


def load(folder, threads, weights="weights.npz"):
    """The predictor, and how long it took to import and to load."""
    start = time.perf_counter()
    import keras  # noqa: F401
    import tensorflow as tf

    import kmrcnn

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    times = {"import_s": time.perf_counter() - start, "imported_mb": measure.memory()}
    start = time.perf_counter()
    model = kmrcnn.load_model(folder / "model.yaml", weights and folder / weights)
    times |= {"load_s": time.perf_counter() - start, "loaded_mb": measure.memory()}
    return kmrcnn.Predictor(model, score_threshold=0.0), times


def total(folder, threads):
    """From the photograph to detections with masks of its size."""
    predictor, times = load(folder, threads)
    photo = np.load(folder / "photo.npy")
    start = time.perf_counter()
    found = predictor.predict(photo)
    times |= {"first_call_s": time.perf_counter() - start, "detections": len(found.scores)}
    predictor.predict(photo)
    measure.serve(lambda: predictor.predict(photo), **times)


def calibrate(folder, threads):
    """Random weights that behave: unit scale after every norm, class logits of unit spread."""
    from kmrcnn.layers.conv_norm_act import ConvNormAct
    from kmrcnn.weights.canonical import canonical_weights

    predictor, _ = load(folder, threads, weights=None)
    model, box = predictor.model, predictor.model.roi_heads.box
    inputs = _inputs(predictor, np.load(folder / "photo.npy"))
    call = ConvNormAct.call

    def normalizing_call(conv, x, training=None):
        if conv.norm is not None:
            y = np.asarray(conv._convolve(x, conv.kernel))
            conv.norm.moving_mean.assign(y.mean((0, 1, 2)))
            conv.norm.moving_variance.assign(y.var((0, 1, 2)))
        return call(conv, x, training)

    with patch.object(ConvNormAct, "call", normalizing_call):
        features = model.neck(model.backbone(model.normalize(*inputs)))
        proposals = model.rpn(features, *inputs)
        outputs = box(features, proposals["boxes"], proposals["valid"])
        logits = np.asarray(outputs["class_logits"])[0]
        centre = logits.mean(0)
        spread = (logits - centre).std()
        box.class_logits.kernel.assign(box.class_logits.kernel / spread)
        box.class_logits.bias.assign((box.class_logits.bias - centre) / spread)
        detections = model({"images": inputs[0], "image_sizes": inputs[1]})
    weights = {name: np.asarray(v) for name, v in canonical_weights(model).items()}
    np.savez(folder / "weights.npz", **weights)
    outputs["class_logits"] = ((logits - centre) / spread)[None]
    _, scores = box.score_boxes(outputs, proposals, inputs[1])
    numbers = {
        "proposals": int(np.sum(proposals["valid"])),
        "candidates": int(np.sum(np.asarray(scores) > box.config.score_threshold)),
        "detections": int(np.sum(detections["valid"])),
    }
    print(json.dumps(numbers))


def stages(folder, threads, repeats):
    """Each stage alone, in a graph of its own, on what the stages before it gave."""
    predictor, _ = load(folder, threads)
    work = make_stages(predictor, np.load(folder / "photo.npy"))
    log = {name: measure.summary(measure.repeat(one, repeats)) for name, one in work.items()}
    print(json.dumps(log))


def make_stages(predictor, photo):
    """{name: function without arguments}, in the order of computation."""
    import tensorflow as tf

    from kmrcnn.postprocess.to_original import to_original_frame

    model, config = predictor.model, predictor.config
    box, mask = model.roi_heads.box, model.roi_heads.branches.get("mask")
    work = {}

    def stage(name, function, *arguments, graph=True):
        function = tf.function(function) if graph else function
        work[name] = lambda: function(*arguments)
        return function(*arguments)

    def head(name, branch, pooled, *arguments):
        """The branch without its pooler; the graph is made here, while that is replaced."""
        with patch.object(branch, "pooler", lambda *_: pooled):
            return stage(name, branch, *arguments)

    images, sizes = stage("preprocess", _inputs, predictor, photo, graph=False)
    features = stage("backbone", lambda x, n: model.backbone(model.normalize(x, n)), images, sizes)
    features = stage("neck", model.neck, features)
    logits, deltas = stage("rpn head", model.rpn.predict_boxes, features)
    anchors = model.rpn.make_anchors(features, images)
    proposals = stage("proposals", model.rpn.propose, logits, deltas, anchors, sizes)
    rois, valid = proposals["boxes"], proposals["valid"]
    flat = rois[valid]
    indices = tf.zeros(len(flat), "int32")
    pooled = stage("box pooling", box.pooler, features, flat, indices)
    outputs = head("box head", box, pooled, features, rois, valid)
    detections = stage("box decoding and NMS", box.decode, outputs, proposals, sizes)
    if mask is not None:
        slots = tf.range(config.box.max_detections)
        for number in (FEW, config.box.max_detections):
            valid = tf.logical_and(detections["valid"], slots < number)
            flat = detections["boxes"][valid]
            name = "" if number != FEW else f", {FEW} detections"
            indices = tf.zeros(len(flat), "int32")
            pooled = stage("mask pooling" + name, mask.pooler, features, flat, indices)
            arguments = (features, detections["boxes"], detections["classes"], valid)
            logits = head("mask head" + name, mask, pooled, *arguments)
        detections |= mask.decode(logits, detections)
    one = {name: np.asarray(value[0]) for name, value in detections.items()}
    arguments = (one, np.asarray(sizes[0]), photo.shape[:2], config.mask)
    stage("back to the picture", to_original_frame, *arguments, graph=False)
    return work


def _inputs(predictor, photo):
    """(images, image_sizes) of the network."""
    import tensorflow as tf

    batch = predictor._to_batch([photo])
    return tf.constant(batch["images"]), tf.constant(batch["image_sizes"])


if __name__ == "__main__":
    verb = {"calibrate": calibrate, "total": total, "stages": stages}[sys.argv[1]]
    verb(Path(sys.argv[2]), *map(int, sys.argv[3:]))
