"""The cache of compiled libraries and their names, with tiny stand-ins for the kernels."""

import ctypes
import dataclasses
import os
import re
import signal
import stat
import time

import pytest

from kmrcnn.custom_ops import build


def test_library_is_compiled_once_and_found_again(workshop, capsys):
    path = build.find_or_build("kernels", workshop.cache)
    assert path.parent == workshop.cache and workshop.read_answer(path) == 42
    assert re.fullmatch(r"kmrcnn_kernels_cpu_\w+_[0-9a-f]{12}\.so", path.name)
    first, last = capsys.readouterr().err.splitlines()
    assert "compiling the kernels library" in first and str(path) in last
    commands = workshop.commands()
    assert build.find_or_build("kernels", workshop.cache) == path
    assert workshop.commands() == commands and not capsys.readouterr().err
    assert sorted(p.name for p in workshop.cache.iterdir()) == [path.name, "lock"]


def test_second_use_starts_no_process(cuda_workshop):
    path = cuda_workshop.start().communicate()[0]
    forbid = """
def forbid(event, arguments):
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system"):
        raise RuntimeError(event)
sys.addaudithook(forbid)
"""
    assert cuda_workshop.start(before=forbid).communicate() == (path, "") and path
    cuda_workshop.write("new.h", "")
    assert "RuntimeError: subprocess.Popen" in cuda_workshop.start(before=forbid).communicate()[1]


def test_two_processes_at_once_compile_once(workshop):
    workshop.add_compiler("sleep 0.2")
    processes = [workshop.start(), workshop.start()]
    outputs = [process.communicate() for process in processes]
    assert outputs[0][0] == outputs[1][0] != ""
    assert len(workshop.commands("cpu.cc -o")) == len(workshop.commands("-shared")) == 1
    assert sorted("waiting for another" in err for _, err in outputs) == [False, True]


def test_killed_build_leaves_nothing_in_the_way(workshop):
    workshop.add_compiler(f"test -e {workshop.folder}/fast || sleep 60")
    (workshop.cache / "folder of somebody else").mkdir(parents=True)
    process = workshop.start()
    try:
        while not workshop.commands():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert len(list(workshop.cache.glob("building-*"))) == 1
        assert not list(workshop.cache.glob("*.so"))
        (workshop.folder / "fast").touch()
        path = build.find_or_build("kernels", workshop.cache)
        assert workshop.read_answer(path) == 42
        names = sorted(path.name for path in workshop.cache.iterdir())
        assert names == ["folder of somebody else", path.name, "lock"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the compilers that it started
        process.communicate()


def test_library_that_does_not_load_is_discarded_and_made_anew(workshop):
    path = build.find_or_build("kernels", workshop.cache)
    path.write_bytes(b"of another version, or half a file")
    assert build.find_or_build("kernels", workshop.cache) == path
    with pytest.raises(OSError):
        ctypes.CDLL(str(path))
    build.discard(path, workshop.cache)
    assert not path.exists()
    assert workshop.read_answer(build.find_or_build("kernels", workshop.cache)) == 42


@pytest.mark.parametrize(
    "name", ["../kmrcnn_a.so", "inner/kmrcnn_a.so", "lock", "other.so", "kmrcnn_a.so/../../log"]
)
def test_discard_refuses_what_is_no_library_in_the_cache(workshop, name):
    path = workshop.cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    with pytest.raises(ValueError, match="`path` must be a library in .*Received: path="):
        build.discard(path, workshop.cache)
    assert path.exists()


def test_cache_lies_in_the_folder_of_kmrcnn(workshop, monkeypatch):
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setenv("KMRCNN_CACHE", "own")
    path = build.find_or_build("kernels")
    assert path.parent == workshop.folder / "own" / "ops"
    build.discard(path)
    assert not path.exists()


@pytest.mark.parametrize("reason", ["not a folder", "read-only", "no home"])
def test_cache_that_cannot_be_written_is_replaced_by_a_private_folder(
    workshop, monkeypatch, reason
):
    if reason == "not a folder":
        (workshop.folder / "file").write_text("")
        monkeypatch.setenv("KMRCNN_CACHE", str(workshop.folder / "file" / "cache"))
    elif reason == "read-only":
        monkeypatch.setenv("KMRCNN_CACHE", str(workshop.cache))
        allowed = os.access  # root may write everywhere, so the mode of the folder would not do
        monkeypatch.setattr(
            os, "access", lambda path, mode: workshop.cache / "ops" != path and allowed(path, mode)
        )
    else:
        from kmrcnn.weights import download

        def no_home():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(download, "cache_dir", no_home)
    path = build.find_or_build("kernels")
    private = path.parent
    assert private == workshop.folder / f"kmrcnn-ops-{os.getuid()}"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    commands = workshop.commands()
    assert build.find_or_build("kernels") == path and workshop.commands() == commands
    build.discard(path)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_private_folder_of_somebody_else_is_refused(workshop, kind):
    private = workshop.folder / f"kmrcnn-ops-{os.getuid()}"
    if kind == "a link":
        private.symlink_to(workshop.sources)
    else:
        private.mkdir()
        private.chmod(0o770)
    blocked = workshop.folder / "file"
    blocked.write_text("")
    with pytest.raises(build.BuildError, match="not yours alone"):
        build.find_or_build("kernels", blocked / "cache")


def test_library_in_a_cache_that_cannot_be_written_is_used(workshop, monkeypatch):
    path = build.find_or_build("kernels", workshop.cache)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert build.find_or_build("kernels", workshop.cache) == path


# --- the name


def _with_cuda(recipe, **changes):
    return dataclasses.replace(recipe, cuda=dataclasses.replace(recipe.cuda, **changes))


CHANGES = {  # of the machine, or of the recipe that was made on it
    "source": lambda workshop, recipe: workshop.write_answer("43"),
    "header": lambda workshop, recipe: workshop.write("new.h", ""),
    "compiler": lambda workshop, recipe: os.utime(workshop.compiler, ns=(0, 0)),
    "nvcc": lambda workshop, recipe: os.utime(recipe.cuda.nvcc, ns=(0, 0)),
    "version": lambda workshop, recipe: dataclasses.replace(recipe, version="2.22.0"),
    "flags": lambda workshop, recipe: dataclasses.replace(recipe, compile_flags=("-DABI=0",)),
    "architectures": lambda workshop, recipe: _with_cuda(recipe, wanted=("90",)),
    "gpus": lambda workshop, recipe: _with_cuda(recipe, gpus="NVIDIA H200"),
    "cuda": lambda workshop, recipe: dataclasses.replace(recipe, cuda=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_name_changes_with_all_that_goes_in(cuda_workshop, monkeypatch, change):
    monkeypatch.setattr(build, "_framework", lambda target: ("2.21.0", ("-DABI=1",), ()))
    recipe = build.plan("tensorflow")
    path = build.find_or_build("tensorflow", cuda_workshop.cache)
    assert path.name.startswith("kmrcnn_tensorflow_2.21.0_cuda_")
    assert build.find(recipe, cuda_workshop.cache) == path
    changed = CHANGES[change](cuda_workshop, recipe)
    recipe = changed if isinstance(changed, build.Recipe) else recipe
    assert build.find(recipe, cuda_workshop.cache) is None


def test_names_of_targets_differ(workshop, monkeypatch):
    monkeypatch.setattr(build, "_framework", lambda target: ("", (), ()))
    assert len({build._name(build.plan(target)) for target in build.TARGETS}) == len(build.TARGETS)


def test_unknown_target_is_refused():
    with pytest.raises(ValueError, match="`target` must be one of tensorflow, .* 'torch'"):
        build.find_or_build("torch")
