"""From a picture to the network frame and back inside a TensorFlow graph.

The same rules as `kmrcnn.data.images`, `kmrcnn.data.preprocess` and `kmrcnn.postprocess`, which are
NumPy and Pillow and so cannot be part of a SavedModel.
"""
