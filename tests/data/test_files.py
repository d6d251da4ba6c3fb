"""Nobody ever sees half a file or half a folder."""

import errno
import os

import pytest

from kmrcnn.data.files import folder_written_aside, written_aside


def fill(folder, text="new"):
    (folder / "deep").mkdir()
    (folder / "deep" / "a.txt").write_text(text)


def content(folder) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_file_appears_complete(tmp_path):
    path = tmp_path / "new" / "a.json"
    with written_aside(path) as aside:
        assert aside.suffix == ".json" and aside.parent == path.parent
        aside.write_text("{}")
        assert not path.exists()
    assert path.read_text() == "{}"
    assert os.listdir(path.parent) == ["a.json"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failed_file_leaves_the_old_one(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), written_aside(path) as aside:
        aside.write_text("half")
        raise error
    assert content(tmp_path) == {"a.txt": "old"}


def test_folder_appears_complete(tmp_path):
    path = tmp_path / "above" / "model"
    with folder_written_aside(path) as aside:
        fill(aside)
        assert not path.exists()
        assert aside.parent == path.parent  # a rename within one file system
    assert content(tmp_path) == {"above/model/deep/a.txt": "new"}


def test_folder_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.mkdir()
    with folder_written_aside(tmp_path / "model"):
        pass
    assert (tmp_path / "model").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_takes_no_file_s_place(tmp_path, overwrite):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(FileExistsError, match="it is not a folder"):
        with folder_written_aside(tmp_path / "model", overwrite):
            pytest.fail("the block must not begin")
    assert content(tmp_path) == {"model": "a file"}


def test_folder_is_replaced_on_demand_only(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        with folder_written_aside(path):
            pytest.fail("the block must not begin")
    assert content(tmp_path) == {"model/old.txt": "old"}
    with folder_written_aside(path, overwrite=True) as aside:
        fill(aside)
        assert content(path) == {"old.txt": "old"}  # until the end
    assert content(tmp_path) == {"model/deep/a.txt": "new"}
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_failed_folder_leaves_everything_as_it_was(tmp_path, error, exists):
    path = tmp_path / "model"
    if exists:
        path.mkdir()
        (path / "old.txt").write_text("old")
    with pytest.raises(type(error)):
        with folder_written_aside(path, overwrite=True) as aside:
            fill(aside)
            raise error
    assert content(tmp_path) == ({"model/old.txt": "old"} if exists else {})
    assert os.listdir(tmp_path) == (["model"] if exists else [])


def test_failed_renaming_brings_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    rename = os.replace

    def fail_on_the_new_one(source, target):
        if target == path and not str(source).endswith("-old"):
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail_on_the_new_one)
    with pytest.raises(OSError, match="broken"):
        with folder_written_aside(path, overwrite=True) as aside:
            fill(aside)
    assert content(tmp_path) == {"model/old.txt": "old"}


def test_folder_under_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match="file"):
        with folder_written_aside(tmp_path / "file" / "model"):
            pytest.fail("the block must not begin")
    assert content(tmp_path) == {"file": "a file"}


def test_a_link_is_replaced_and_what_it_names_stays(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old.txt").write_text("old")
    (tmp_path / "model").symlink_to(target)
    with folder_written_aside(tmp_path / "model", overwrite=True) as aside:
        fill(aside)
    assert content(target) == {"old.txt": "old"}  # what the link named is not ours to remove
    assert content(tmp_path / "model") == {"deep/a.txt": "new"}
    assert sorted(os.listdir(tmp_path)) == ["model", "target"]


@pytest.mark.parametrize("name", [".", "..", "model/.."])
def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "work" / "model").mkdir(parents=True)
    (tmp_path / "work" / "precious.txt").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(ValueError, match="must end in the name of a folder"):
        with folder_written_aside(name, overwrite=True):
            pytest.fail("the block must not begin")
    assert (tmp_path / "work" / "precious.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["work"]
