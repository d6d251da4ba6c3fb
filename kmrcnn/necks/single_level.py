"""No neck: the backbone's last map is what RPN and branches see (the C4 and C5 forms)."""

import keras


class SingleLevel(keras.layers.Layer):
    """Hands on the last of the backbone's maps.

    Args:
        config: Not used: there is nothing to choose.
        feature_info: {"C2": (channels, stride), ...} of the backbone.

    Call arguments:
        features: {"C2": (B, h, w, c), ...}.

    Returns:
        {"C4": (B, h, w, c)}, or whichever comes last.
    """

    laterals = output_convs = ()  # of a pyramid: there are none

    def __init__(self, config, feature_info: dict[str, tuple[int, int]], **kwargs):
        super().__init__(**kwargs)
        self.level = list(feature_info)[-1]
        self.feature_info = {self.level: feature_info[self.level]}
        self.roi_levels = (self.level,)

    def call(self, features, training=None):
        return {self.level: features[self.level]}
