from types import SimpleNamespace

import pytest

from kmrcnn.weights.canonical import canonical_name, canonical_weights


@pytest.mark.parametrize(
    "path,name",
    [
        ("backbone/stem/kernel", "backbone/stem/kernel"),
        ("generalized_rcnn/backbone/stem/kernel", "backbone/stem/kernel"),
        ("m/backbone/res_net/res4_22/conv2/norm/gamma", "backbone/res4_22/conv2/norm/gamma"),
        ("backbone/backbone/res2_0/shortcut/kernel", "backbone/res2_0/shortcut/kernel"),
        ("stem/norm/moving_mean", "backbone/stem/norm/moving_mean"),
        ("m/neck/fpn/lateral2/bias", "neck/lateral2/bias"),
        ("output5/norm/beta", "neck/output5/norm/beta"),
        ("m/rpn/rpn_head/conv2/bias", "rpn/conv2/bias"),
        ("rpn/objectness/kernel", "rpn/objectness/kernel"),
        ("m/roi_heads/box/head/class_logits/bias", "roi_heads/box/class_logits/bias"),
        ("m/roi_heads/x/mask/logits/kernel", "roi_heads/mask/logits/kernel"),
        ("roi_heads/mask/conv3/norm/beta", "roi_heads/mask/conv3/norm/beta"),
        ("m/roi_heads/keypoint/conv1/kernel", "roi_heads/keypoint/conv1/kernel"),
        ("m/semantic/conv1/kernel", "semantic/conv1/kernel"),
        ("semantic/conv1/kernel", "semantic/conv1/kernel"),
    ],
)
def test_name_does_not_depend_on_nesting(path, name):
    assert canonical_name(path, "m") == name


def test_weights_come_by_name_and_in_order():
    variables = [SimpleNamespace(path="m/rpn/conv1/bias"), SimpleNamespace(path="stem/kernel")]
    named = canonical_weights(SimpleNamespace(name="m", weights=variables))
    assert list(named.items()) == list(zip(["rpn/conv1/bias", "backbone/stem/kernel"], variables))


def test_two_variables_of_one_name_are_an_error():
    variables = [SimpleNamespace(path="m/a/stem/kernel"), SimpleNamespace(path="m/b/stem/kernel")]
    with pytest.raises(ValueError, match="m/b/stem/kernel"):
        canonical_weights(SimpleNamespace(name="m", weights=variables))
