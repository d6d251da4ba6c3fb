"""Names of torchvision's ResNets and ResNeXts for ImageNet: a backbone to start training from.

The classifier is left out; neck, RPN, heads and whatever else the file does not have stay as they
were initialised. The stride of a bottleneck sits in its 3x3 there, and images are RGB.
"""

from __future__ import annotations

from kmrcnn.weights.layouts import conv
from kmrcnn.weights.name_map import Rule, Source

_BLOCK = "backbone/res{stage}_{block}"
_LAYER = "layer{stage-1}.{block}"

IMAGENET = Source(
    name="imagenet",
    rules=(
        Rule("backbone/stem/kernel", "conv1.weight", conv),
        Rule("backbone/stem/norm/{norm}", "bn1.{norm}"),
        Rule(_BLOCK + "/conv{k}/kernel", _LAYER + ".conv{k}.weight", conv),
        Rule(_BLOCK + "/conv{k}/norm/{norm}", _LAYER + ".bn{k}.{norm}"),
        Rule(_BLOCK + "/shortcut/kernel", _LAYER + ".downsample.0.weight", conv),
        Rule(_BLOCK + "/shortcut/norm/{norm}", _LAYER + ".downsample.1.{norm}"),
    ),
    signature=("layer1.0.conv1.weight",),
    ignored=(r"fc\.(weight|bias)", r".*\.num_batches_tracked"),
    partial=True,
)
