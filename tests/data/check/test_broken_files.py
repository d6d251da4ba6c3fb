"""Files broken at random never stop the doctor, and their cleaned copies are sound."""

import copy
import json
import math
import random

import pytest

from kmrcnn.data.check.doctor import examine
from kmrcnn.data.check.repair import repair
from kmrcnn.data.check.report import report
from tests.data.check.faulty_folder import write_faulty_folder

_JUNK = (
    *(None, True, -1, 0, 1, 10, 1e9, -3.5, math.nan, math.inf, 10**30),
    *("x", "", "again.png", "../x"),
    *([], [1], [[]], [[1, 2]], [math.nan] * 4, [[0] * 6], [[1, 2, 3, 4, 5, 6]], [[10**30] * 6]),
    *({}, {"size": [60, 80], "counts": "abc"}, {"size": [60, 80], "counts": []}),
    {"size": "ab", "counts": [1]},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    write_faulty_folder(folder)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_broken_files_are_examined_and_mended(folder, seed):
    rng = random.Random(seed)
    sound = json.loads((folder / "faulty.json").read_text())
    for _ in range(15):
        (folder / "broken.json").write_text(json.dumps(_broken(sound, rng)))
        found = examine(folder / "broken.json", folder)
        assert "FAULT" in report(found)
        json.dumps(found.to_dict())
        repair(found).write(folder / "mended.json")
        assert examine(folder / "mended.json", folder).faults == []


def _broken(document, rng):
    """A copy with up to six entries or fields replaced by junk or left out."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 6)):
        entries = document[rng.choice(["images", "annotations", "categories"])]
        index = rng.randrange(len(entries))
        if not isinstance(entries[index], dict) or not entries[index] or rng.random() < 0.1:
            entries[index] = rng.choice(_JUNK)
            continue
        key = rng.choice(list(entries[index]))
        if rng.random() < 0.2:
            del entries[index][key]
        else:
            entries[index][key] = rng.choice(_JUNK)
    return document
