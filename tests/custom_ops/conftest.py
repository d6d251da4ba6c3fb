"""Stand-ins for all that building needs: tiny sources, a compiler with a log, CUDA, a cache."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kmrcnn.custom_ops import build

COMPILER = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
SETTINGS = ("CXX", "CUDA_HOME", "KMRCNN_CUDA", "KMRCNN_CUDA_ARCHS", "KMRCNN_CACHE")
LOAD_BY_PATH = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("build", sys.argv[1])
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
build.SOURCES, cache, build.CUDA_TOOLKIT = map(Path, sys.argv[2:])
"""
BUILD = "print(build.find_or_build('kernels', cache))"


class Workshop:
    """Everything lies in one folder; the programs append their arguments to a log."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "log"
        self.sources, self.cache, self.toolkit = folder / "cc", folder / "cache", folder / "cuda"
        self.sources.mkdir()
        for target in build.TARGETS.values():
            for name in target.sources:
                self.write(name, "")
        self.write_answer("42")
        self.compiler = self.add_compiler()

    def write(self, source: str, text: str) -> None:
        (self.sources / source).write_text(text)

    def write_answer(self, answer: str) -> None:
        public = 'extern "C" __attribute__((visibility("default")))'
        self.write("cpu.cc", f"{public} int kmrcnn_answer() {{ return {answer}; }}\n")

    def read_answer(self, library: Path) -> int:
        return ctypes.CDLL(str(library)).kmrcnn_answer()

    def add_program(self, name: str, script: str, folder: str = "bin") -> Path:
        path = self.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{script}\n')
        path.chmod(0o755)
        return path

    def add_compiler(self, before: str = "") -> Path:
        """The real one, after a line of shell."""
        return self.add_program("cxx", f'{before}\nexec {COMPILER} "$@"')

    def add_toolkit(self, source: str = "") -> Path:
        """One whose nvcc makes every object of the same C++ text."""
        self.write("any.cu", source)
        compile_any = f'exec {COMPILER} -x c++ -fPIC -c {self.sources}/any.cu -o "$output"'
        nvcc = self.add_program("nvcc", f"for output; do :; done\n{compile_any}", "cuda/bin")
        (self.toolkit / "lib64").mkdir(exist_ok=True)
        (self.toolkit / "lib64" / "libcudart_static.a").write_bytes(b"!<arch>\n")
        return nvcc

    def commands(self, text: str = "") -> list[str]:
        """What was run so far and holds a text."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if text in line]

    def start(self, before: str = "", after: str = "") -> subprocess.Popen:
        """Builds in another process, one without kmrcnn and installed packages."""
        script = "\n".join([LOAD_BY_PATH, before, BUILD, after])
        arguments = map(str, [build.__file__, self.sources, self.cache, self.toolkit])
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """Builds without CUDA."""
    if COMPILER is None:
        pytest.skip("needs a C++ compiler")
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    workshop = Workshop(tmp_path)
    monkeypatch.setattr(build, "SOURCES", workshop.sources)
    monkeypatch.setattr(build, "CUDA_TOOLKIT", workshop.toolkit)
    monkeypatch.setattr(build, "GPU_LIST", tmp_path / "gpus")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CXX", str(workshop.compiler))
    monkeypatch.setenv("KMRCNN_CUDA", "off")
    return workshop


@pytest.fixture
def cuda_workshop(workshop, monkeypatch):
    """Builds with a toolkit, for no GPU."""
    workshop.add_toolkit()
    workshop.add_program("nvidia-smi", "exit 9")
    monkeypatch.setenv("KMRCNN_CUDA", "require")
    monkeypatch.setenv("CUDA_HOME", str(workshop.toolkit))
    monkeypatch.setenv("PATH", f"{workshop.compiler.parent}:{os.environ['PATH']}")
    return workshop
