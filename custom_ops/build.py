"""Compiles the kernels of `roi_align/cc` into shared libraries and keeps them in a cache.

The one description of the compile commands. TensorFlow's C++ interface changes with every minor
version, so nothing is compiled when the package is installed: a library is made where and when it
is first used. From then on it is found by its name, with a hash of all that went into it.

Environment variables:
    CXX: C++ compiler, instead of g++, clang++ or c++ on PATH.
    CUDA_HOME: CUDA toolkit, before that of nvcc on PATH and /usr/local/cuda.
    KMRCNN_CUDA: auto (CUDA kernels if there is a toolkit), off or require.
    KMRCNN_CUDA_ARCHS: compute capabilities such as "80;90", instead of those of the GPUs seen.
    KMRCNN_CACHE: kmrcnn's cache folder; the libraries lie in `ops` below it.

Needs the standard library only, and nothing of kmrcnn when it is imported: machines without
TensorFlow load this file by its path.
"""

import contextlib
import hashlib
import importlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "roi_align" / "cc"
CUDA_TOOLKIT = Path("/usr/local/cuda")  # where NVIDIA's installer puts it
GPU_LIST = Path("/proc/driver/nvidia/gpus")
PORTABLE_PTX = "75"  # for GPUs that are not seen: the driver of any later one can finish it

_CPU = ("cpu.cc", "inner_loops_base.cc", "inner_loops_avx2.cc")
_CUDA = ("cuda_backward_fast.cu", "cuda_backward_deterministic.cu", "cuda_forward.cu")
_GLUE = ("tensorflow_op.cc", "jax_handlers.cc")

_HOST_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
_CHECKED = ("-O1", "-g", "-fno-omit-frame-pointer", *_SANITIZERS)
_UNFUSED = "-ffp-contract=off"  # samples lie where the references put them, to the bit
_SOURCE_FLAGS = {
    "cpu.cc": (_UNFUSED,),
    "inner_loops_avx2.cc": ("-mavx2", "-mfma", "-mf16c"),
    **dict.fromkeys(_CUDA, (_UNFUSED, "-DKMRCNN_EMULATE_CUDA", "-x", "c++")),  # without nvcc
}


class BuildError(OSError):
    """A library was not found and cannot be made; the message says what to do about it."""


@dataclass(frozen=True)
class Target:
    """What goes into one library."""

    sources: tuple[str, ...]  # for the host compiler, the slowest first
    cuda: bool = True  # add the CUDA kernels where there is a toolkit
    flags: tuple[str, ...] = ("-O3", "-DNDEBUG")


TARGETS = {
    "tensorflow": Target(("tensorflow_op.cc", *_CPU)),
    "jax": Target(("jax_handlers.cc", *_CPU, "threads.cc")),
    "kernels": Target((*_CPU, "threads.cc")),
    "emulation": Target((*_CUDA, *_CPU, "threads.cc"), cuda=False),
    "sanitized": Target((*_CPU, "threads.cc"), cuda=False, flags=_CHECKED),
}


@dataclass(frozen=True)
class Cuda:
    """A CUDA toolkit and what it is to compile for."""

    nvcc: Path
    libraries: Path  # folder of libcudart_static.a
    wanted: tuple[str, ...]  # compute capabilities; empty: those of the GPUs
    gpus: str  # of this machine, as far as they can be told without starting a process


@dataclass(frozen=True)
class Recipe:
    """A library as this machine would make it."""

    target: str
    version: str  # of the framework; empty: the target needs none
    compile_flags: tuple[str, ...]  # of the framework
    link_flags: tuple[str, ...]
    compiler: tuple[str, ...]  # a command; empty: there is none
    cuda: Cuda | None
    without_cuda: str  # why there are no CUDA kernels
    problem: str  # why the library cannot be made here; empty: it can


def find_or_build(target: str = "tensorflow", folder: Path | None = None) -> Path:
    """Path of a library: from the cache, else compiled into it.

    Args:
        target: Name in `TARGETS`.
        folder: The cache, if not `cache_folder()`. Where it cannot be written, a new library goes
            to a private folder among the temporary files.

    Raises:
        BuildError: No compiler, no CUDA toolkit where one is required, or a command failed. It is
            an OSError, as is what a full disk raises.
        ValueError: Unknown target, or an environment variable has a value that it cannot have.
    """
    recipe = plan(target)
    folder = Path(folder or cache_folder()).absolute()
    if path := find(recipe, folder):
        return path
    if recipe.problem:
        raise BuildError(recipe.problem)
    return _build(recipe, _writable(folder))


def discard(path: Path, folder: Path | None = None) -> None:
    """Remove a library that does not load, so that `find_or_build` makes it anew.

    Raises:
        ValueError: `path` is not a library in the cache, which is `folder` if that is given.
    """
    path, folder = Path(path).absolute(), Path(folder or cache_folder())
    places = [place.resolve() for place in (folder, _writable(folder))]
    if path.parent.resolve() not in places or not re.fullmatch(r"kmrcnn_.*\.so", path.name):
        raise ValueError(f"`path` must be a library in {folder}. Received: path={str(path)!r}")
    path.unlink(missing_ok=True)


def plan(target: str = "tensorflow") -> Recipe:
    """How this machine would make a library. Starts no process."""
    if target not in TARGETS:
        raise ValueError(f"`target` must be one of {', '.join(TARGETS)}. Received: {target!r}")
    if os.name != "posix":
        raise BuildError("The RoIAlign op can be compiled on Linux and macOS only")
    compiler, problem = _find_compiler()
    cuda, without_cuda = _find_cuda() if TARGETS[target].cuda else (None, "the target has none")
    if TARGETS[target].cuda and cuda is None and _cuda_mode() == "require":
        problem = problem or f"KMRCNN_CUDA=require, but {without_cuda}"
    return Recipe(target, *_framework(target), compiler, cuda, without_cuda, problem)


def find(recipe: Recipe, folder: Path) -> Path | None:
    """The library in a folder, or None.

    Where it cannot be made, one by other tools, from the same sources and for the same framework,
    is taken: that of an earlier stage of a Docker build, say.
    """
    if not recipe.problem:
        path = folder / _name(recipe)
        return path if os.path.isfile(path) else None  # Path.is_file raises if it may not look
    kind = {"off": "cpu", "require": "cuda"}.get(_cuda_mode(), "*")
    made = folder.glob(f"{_first_part(recipe, kind)}*.so")
    return max(made, key=lambda path: path.stat().st_mtime, default=None)


def cache_folder() -> Path:
    """Where libraries are kept; it need not exist."""
    from kmrcnn.weights.download import cache_dir

    try:
        return cache_dir() / "ops"
    except RuntimeError:  # a user without a home
        return _private_folder()


def architectures(cuda: Cuda) -> tuple[tuple[str, ...], str]:
    """Compute capabilities such as "90" to compile for, and the one whose PTX later GPUs use."""
    native = cuda.wanted or (_ask_gpus() if cuda.gpus else ())
    return native, native[-1] if native else PORTABLE_PTX


def _framework(target: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Version, compile flags and link flags of what a target's glue needs."""
    if target not in ("tensorflow", "jax"):
        return "", (), ()
    try:
        framework = importlib.import_module(target)
    except ImportError as error:
        raise BuildError(f"The {target} library needs {target}: {error}") from error
    if target == "jax":
        return framework.__version__, (f"-I{framework.ffi.include_dir()}",), ()
    flags = framework.sysconfig
    return framework.__version__, tuple(flags.get_compile_flags()), tuple(flags.get_link_flags())


def _find_compiler() -> tuple[tuple[str, ...], str]:
    """(command, ""), or ((), why there is none)."""
    if chosen := shlex.split(os.environ.get("CXX", "")):
        path = shutil.which(chosen[0])
        return ((path, *chosen[1:]), "") if path else ((), f"CXX={chosen[0]} cannot be run")
    if found := next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None):
        return (found,), ""
    return (), (
        "There is no C++ compiler for the RoIAlign op: install one (`apt install g++`, `dnf "
        "install gcc-c++`, `conda install gxx`), or set CXX to one that is not on PATH"
    )


def _find_cuda() -> tuple[Cuda | None, str]:
    """(toolkit, ""), or (None, why there is none)."""
    if _cuda_mode() == "off":
        return None, "KMRCNN_CUDA=off"
    wanted = _capabilities(os.environ.get("KMRCNN_CUDA_ARCHS", ""))
    lacking = "nvcc"
    for toolkit in _toolkits():
        if not os.access(toolkit / "bin" / "nvcc", os.X_OK):
            continue
        lacking = "libcudart_static.a of the CUDA toolkit"
        for name in ("lib64", "lib", f"targets/{platform.machine()}-linux/lib"):
            if (toolkit / name / "libcudart_static.a").is_file():
                return Cuda(toolkit / "bin" / "nvcc", toolkit / name, wanted, _gpus()), ""
    return None, f"{lacking} was not found (CUDA_HOME, PATH and {CUDA_TOOLKIT} were searched)"


def _toolkits() -> Iterator[Path]:
    if chosen := os.environ.get("CUDA_HOME"):
        yield Path(chosen)
    if on_path := shutil.which("nvcc"):
        yield Path(on_path).resolve().parent.parent
    yield CUDA_TOOLKIT


def _cuda_mode() -> str:
    mode = os.environ.get("KMRCNN_CUDA") or "auto"
    if mode not in ("auto", "off", "require"):
        raise ValueError(f"KMRCNN_CUDA must be auto, off or require. Received: {mode!r}")
    return mode


def _gpus() -> str:
    listed = "\n".join(file.read_text() for file in GPU_LIST.glob("*/information"))
    models = sorted(set(re.findall(r"^Model:\s*(.+)$", listed, re.M)))
    return "; ".join(models) or shutil.which("nvidia-smi") or ""


def _ask_gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return _capabilities(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):  # a driver without GPUs, or too old
        return ()


def _capabilities(listed: str) -> tuple[str, ...]:
    names = set(re.split(r"[;,\s]+", listed.replace(".", ""))) - {""}
    if not all(re.fullmatch(r"\d{2,3}", name) for name in names):
        raise ValueError(f'KMRCNN_CUDA_ARCHS must be such as "80;90". Received: {listed!r}')
    return tuple(sorted(names, key=int))


def _name(recipe: Recipe) -> str:
    """kmrcnn_TARGET_VERSION_cpu|cuda_MACHINE_HASH.so; the hash: half sources, half tools."""
    cuda = recipe.cuda
    programs = [recipe.compiler[0], cuda.nvcc] if cuda else [recipe.compiler[0]]
    generate = (*cuda.wanted, cuda.gpus) if cuda else ()  # asking the GPUs starts a process
    tools = [sys.platform, *map(_identity, programs), _commands(recipe, Path(), generate)]
    return f"{_first_part(recipe, 'cuda' if cuda else 'cpu')}{_digest(tools)}.so"


def _first_part(recipe: Recipe, kind: str) -> str:
    files = sorted(path for path in SOURCES.iterdir() if path.is_file())
    sources = _digest([(file.name, file.read_bytes()) for file in files])
    parts = ("kmrcnn", recipe.target, recipe.version, kind, platform.machine(), sources)
    return "_".join(part for part in parts if part)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:6]


def _identity(program: str | Path) -> tuple[str, int, int]:
    """Tells a compiler from its successor; asking for its version would start a process."""
    path = Path(program).resolve()
    return str(path), path.stat().st_size, path.stat().st_mtime_ns


def _build(recipe: Recipe, folder: Path) -> Path:
    path = folder / _name(recipe)
    with _locked(folder):
        if path.is_file():  # by another process, while this one waited
            return path
        for leftover in folder.glob("building-*"):  # of builds that were killed
            shutil.rmtree(leftover, ignore_errors=True)
        about = f"once, about {20 if recipe.cuda else 10} s"
        _say(f"compiling the {recipe.target} library of RoIAlign ({about}) ...")
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as aside:
            _compile(recipe, Path(aside))
            with open(Path(aside, "library.so"), "rb+") as file:
                os.fsync(file)  # the name must not come to the disk before what it names
            os.replace(Path(aside, "library.so"), path)
        _say(f"compiled in {time.perf_counter() - start:.0f} s: {path}")
    return path


def _writable(folder: Path) -> Path:
    """The folder, or a private one if it cannot be written."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK | os.X_OK) else _private_folder()


def _private_folder() -> Path:
    """Among the temporary files, where others could have made a folder of this name."""
    folder = Path(tempfile.gettempdir(), f"kmrcnn-ops-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BuildError(f"{folder} is not yours alone: remove it, or set KMRCNN_CACHE")
    return folder


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One build at a time; the lock goes with the process that holds it, however that ends."""
    import fcntl

    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that is compiling ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(recipe: Recipe, aside: Path) -> None:
    """Write library.so."""
    generate = []
    if recipe.cuda:
        native, ptx = architectures(recipe.cuda)
        codes = [(name, f"sm_{name}") for name in native] + [(ptx, f"compute_{ptx}")]
        generate = [f"-gencode=arch=compute_{name},code={code}" for name, code in codes]
    *compile_commands, link_command = _commands(recipe, aside, generate)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, compile_commands))
    _run(link_command)
    nm = shutil.which("nm") if recipe.cuda else None
    symbols = _run([nm, "-D", "--undefined-only", link_command[-1]]) if nm else ""
    if foreign := re.search(r"\bU (_*cuda\w+)", symbols):
        raise BuildError(f"The library would take {foreign[1]} from TensorFlow, not from CUDA")


def _commands(recipe: Recipe, aside: Path, generate: Sequence[str]) -> list[list[str]]:
    """Those that compile, then the one that links. `generate`: what nvcc compiles for."""
    flags, sources = TARGETS[recipe.target].flags, [*TARGETS[recipe.target].sources]
    if platform.machine() not in ("x86_64", "AMD64"):
        sources.remove("inner_loops_avx2.cc")
    sources[1:1] = _CUDA if recipe.cuda else ()
    commands = []
    for source in sources:
        files = ["-c", str(SOURCES / source), "-o", str(aside / f"{source}.o")]
        commands.append([*_compile_command(recipe, source, generate), *files])
    link = [*recipe.compiler, *flags, "-shared", "-pthread", *(command[-1] for command in commands)]
    if recipe.cuda:  # before TensorFlow's library, which has stubs of the same names
        link += ["-Wl,--exclude-libs,ALL", f"-L{recipe.cuda.libraries}", "-lcudart_static"]
        link += ["-ldl", "-lrt", "-lpthread"]
    return [*commands, [*link, *recipe.link_flags, "-o", str(aside / "library.so")]]


def _compile_command(recipe: Recipe, source: str, generate: Sequence[str]) -> list[str]:
    if recipe.cuda and source.endswith(".cu"):
        flags = ["-std=c++17", "-O3", "--threads=0", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
        flags += generate
        if len(recipe.compiler) == 1:  # else it has arguments, which nvcc does not understand
            flags += ["-ccbin", *recipe.compiler]
        return [str(recipe.cuda.nvcc), *flags]
    flags = [*_HOST_FLAGS, *TARGETS[recipe.target].flags, *_SOURCE_FLAGS.get(source, ())]
    if source in _GLUE:  # -isystem: no warnings about headers that are not ours
        flags += [re.sub("^-I", "-isystem", flag) for flag in recipe.compile_flags]
        flags += ["-DKMRCNN_WITH_CUDA"] if recipe.cuda else []
    return [*recipe.compiler, *flags]


def _run(command: Sequence[str]) -> str:
    """What a command prints; BuildError with its last words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise BuildError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        lines = done.stderr.splitlines()[-20:]
        cause = next((line for line in lines if "error" in line), f"exit code {done.returncode}")
        hint = " (KMRCNN_CUDA=off does without)" * command[0].endswith("nvcc")
        report = [f"{command[0]} failed: {cause}{hint}", shlex.join(command), *lines]
        raise BuildError("\n".join(report))
    return done.stdout


def _say(text: str) -> None:
    print(f"kmrcnn: {text}", file=sys.stderr, flush=True)
