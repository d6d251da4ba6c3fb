import json

from kmrcnn.data.datasets import open_dataset


def test_pictures_are_named_by_their_address(tmp_path, save_picture):
    save_picture(tmp_path / "photos" / "train2017" / "000000000009.jpg")
    document = {
        "images": [
            {
                "id": 9,
                "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg",
                "height": 20,
                "width": 30,
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [],
            }
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 9,
                "category_id": 5,
                "bbox": [2, 3, 10, 6],
                "area": 60,
                "segmentation": [[2, 3, 12, 3, 12, 9, 2, 9]],
            }
        ],
        "categories": [{"id": 5, "name": "aerosol_can", "frequency": "c"}],
    }
    path = tmp_path / "lvis_v1_train.json"
    path.write_text(json.dumps(document))
    dataset = open_dataset(path, tmp_path / "photos")
    assert dataset.class_names == ("aerosol_can",) and dataset.category_ids == (5,)
    assert dataset[0].full_masks().sum() == 60
