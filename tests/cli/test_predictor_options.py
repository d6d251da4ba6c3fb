"""From --tta and --tile to the predictor they ask for."""

import argparse
import sys
from types import SimpleNamespace

import pytest

from kmrcnn.augmented_inference import InferenceAugmentation
from kmrcnn.cli.predictor_options import add_predictor_options, make_predictor
from kmrcnn.tiled import TiledPredictor


def parse(*argv):
    parser = argparse.ArgumentParser()
    add_predictor_options(parser)
    return parser.parse_args(argv)


@pytest.fixture
def make(monkeypatch):
    """(options) -> what is made; the predictor is the arguments it was made with."""

    def predictor(model, **options):
        return SimpleNamespace(model=model, **options)

    monkeypatch.setitem(sys.modules, "kmrcnn.predictor", SimpleNamespace(Predictor=predictor))
    return lambda *argv: make_predictor("model", parse(*argv), 0.3)


def test_plain(make):
    made = make("--batch-size", "4")
    assert vars(made) == {"model": "model", "score_threshold": 0.3, "batch_size": 4}


@pytest.mark.parametrize(
    "argv, sides", [(["--tta"], None), (["--tta-sides", "400,500"], (400, 500))]
)
def test_augmentation(make, argv, sides):
    assert make(*argv).augmentation == InferenceAugmentation(short_sides=sides)


def test_tiles(make):
    made = make("--tile", "512")
    assert isinstance(made, TiledPredictor)
    assert (made.tile, made.overlap, made.score_threshold) == (512, 128, 0.3)
    assert make("--tile", "512", "--overlap", "0", "--tta").predictor.augmentation is not None


@pytest.mark.parametrize("overlap", ["512", "-1"])
def test_overlap_must_fit(make, overlap):
    with pytest.raises(ValueError, match="`overlap`"):
        make("--tile", "512", "--overlap", overlap)


@pytest.mark.parametrize(
    "argv", [["--tile", "0"], ["--batch-size", "0"], ["--tta-sides", "0,1"], ["--tta-sides", "a"]]
)
def test_impossible_numbers_are_refused(argv, capsys):
    with pytest.raises(SystemExit):
        parse(*argv)
    assert argv[0] in capsys.readouterr().err
