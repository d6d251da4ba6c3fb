import pytest

from kmrcnn.data.check.identifiers import (
    check_annotation_ids,
    check_category_gaps,
    check_image_ids,
)
from kmrcnn.data.records import Instance, Record


def _record(image_id, *annotation_ids):
    box = (0.0, 0.0, 1.0, 1.0)
    instances = tuple(Instance(box, 0, None, annotation_id=one) for one in annotation_ids)
    return Record(image_id, None, None, instances)


def test_ids_used_twice():
    records = [_record(1, 7, 8, 7), _record("1", 9, None), _record(1, 8, None)]
    assert [(one.image_id, one.annotation_id) for one in check_image_ids(records)] == [(1, None)]
    found = {(one.image_id, one.annotation_id) for one in check_annotation_ids(records)}
    assert found == {(1, 7), (1, 8)}


@pytest.mark.parametrize(
    "ids,part",
    [((), None), ((0, 1, 2), None), ((3, 2, 1), None), ((1, 3, 7), "leave out 2, 4-6")],
)
def test_gaps(ids, part):
    found = check_category_gaps(ids)
    assert [part in one.message for one in found] == ([] if part is None else [True])


def test_a_huge_id_takes_no_time():
    (gap,) = check_category_gaps((1, 10**15))
    assert "2-999999999999999" in gap.message
