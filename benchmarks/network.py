"""Workers of `predict.py`, a process each: network.py calibrate|total|stages FOLDER THREADS [N]."""

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
    """The predictor, the photograph, and what it took to import and to load."""
    start = time.perf_counter()
    import tensorflow as tf

    import kmrcnn

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    facts = {"import_s": time.perf_counter() - start, "import_mib": measure.memory()}
    start = time.perf_counter()
    model = kmrcnn.load_model(folder / "model.yaml", weights and folder / weights)
    facts |= {"load_s": time.perf_counter() - start, "load_mib": measure.memory()}
    return kmrcnn.Predictor(model, score_threshold=0.0), np.load(folder / "photo.npy"), facts


def total(folder, threads):
    """From the photograph to detections with masks of its size."""
    predictor, photo, facts = load(folder, threads)
    start = time.perf_counter()
    found = predictor.predict(photo)
    facts |= {"first_s": time.perf_counter() - start, "detections": len(found.scores)}
    del found
    predictor.predict(photo)
    measure.serve(lambda: predictor.predict(photo), **facts)


def calibrate(folder, threads):
    """Random weights that behave: unit scale after every norm, class logits of unit spread."""
    from kmrcnn.layers.conv_norm_act import ConvNormAct
    from kmrcnn.weights.canonical import canonical_weights

    predictor, photo, _ = load(folder, threads, weights=None)
    model, box = predictor.model, predictor.model.roi_heads.box
    images, sizes = _inputs(predictor, photo)
    call = ConvNormAct.call

    def normalizing_call(conv, x, training=None):
        if conv.norm is not None:
            y = np.asarray(conv._convolve(x, conv.kernel))
            conv.norm.moving_mean.assign(y.mean((0, 1, 2)))
            conv.norm.moving_variance.assign(y.var((0, 1, 2)))
        return call(conv, x, training)

    with patch.object(ConvNormAct, "call", normalizing_call):
        features = model.neck(model.backbone(model.normalize(images, sizes)))
        proposals = model.rpn(features, images, sizes)
        logits = box(features, proposals["boxes"], proposals["valid"])["class_logits"]
        centre = np.mean(logits, (0, 1))
        spread = np.std(logits - centre)
        box.class_logits.kernel.assign(box.class_logits.kernel / spread)
        box.class_logits.bias.assign((box.class_logits.bias - centre) / spread)
        found = model({"images": images, "image_sizes": sizes})
    weights = {name: np.asarray(v) for name, v in canonical_weights(model).items()}
    np.savez(folder / "weights.npz", **weights)
    counts = {"proposals": proposals, "detections": found}
    print(json.dumps({name: int(np.sum(boxes["valid"])) for name, boxes in counts.items()}))


def stages(folder, threads, repeats):
    """Each stage alone, in a graph of its own, on what the stages before it gave."""
    predictor, photo, _ = load(folder, threads)
    work = make_stages(predictor, photo)
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

    def branch_stages(name, branch, suffix, boxes, valid, *classes):
        """Pooling and head; the head's graph is made while its pooler gives what was pooled."""
        rois = boxes[valid]
        indices = tf.zeros(len(rois), "int32")
        pooled = stage(f"{name} pooling{suffix}", branch.pooler, features, rois, indices)
        with patch.object(branch, "pooler", lambda *_: pooled):
            return stage(f"{name} head{suffix}", branch, features, boxes, *classes, valid)

    images, sizes = stage("preprocess", _inputs, predictor, photo, graph=False)
    features = stage("backbone", lambda x, n: model.backbone(model.normalize(x, n)), images, sizes)
    features = stage("neck", model.neck, features)
    logits, deltas = stage("rpn head", model.rpn.predict_boxes, features)
    anchors = model.rpn.make_anchors(features, images)
    proposals = stage("proposals", model.rpn.propose, logits, deltas, anchors, sizes)
    outputs = branch_stages("box", box, "", proposals["boxes"], proposals["valid"])
    found = stage("box decoding and NMS", box.decode, outputs, proposals, sizes)
    if mask is not None:
        boxes, valid, classes = found["boxes"], found["valid"], found["classes"]
        few = valid & (tf.range(config.box.max_detections) < FEW)
        branch_stages("mask", mask, f", {FEW} detections", boxes, few, classes)
        found |= mask.decode(branch_stages("mask", mask, "", boxes, valid, classes), found)
    found = {name: np.asarray(value[0]) for name, value in found.items()}
    arguments = (found, np.asarray(sizes[0]), photo.shape[:2], config.mask)
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
