"""The compile commands: compilers, flags and CUDA toolkits, found or not; the real sources."""

import ctypes
import platform
import re
import subprocess

import pytest

from kmrcnn.custom_ops import build
from kmrcnn.custom_ops.roi_align import kernels


def test_without_a_compiler_the_error_says_what_to_install(workshop, monkeypatch):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.BuildError, match="no C.. compiler.*apt install"):
        build.find_or_build("kernels", workshop.cache)


def test_without_a_compiler_a_library_of_the_same_sources_is_used(workshop, monkeypatch):
    path = build.find_or_build("kernels", workshop.cache)
    monkeypatch.setenv("CXX", "gone")
    assert build.find_or_build("kernels", workshop.cache) == path
    workshop.write_answer("43")
    with pytest.raises(build.BuildError, match="CXX=gone cannot be run"):
        build.find_or_build("kernels", workshop.cache)


def test_compiler_that_fails_is_named(workshop, monkeypatch):
    failing = workshop.add_program("failing", "echo out of memory >&2; exit 3")
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(build.BuildError) as error:
        build.find_or_build("kernels", workshop.cache)
    first, command, *last_words = str(error.value).splitlines()
    assert first == f"{failing} failed: exit code 3"
    assert command.startswith(f"{failing} -std=c++17") and last_words == ["out of memory"]
    assert [p.name for p in workshop.cache.iterdir()] == ["lock"]


def test_program_that_is_none_is_named(workshop, monkeypatch):
    workshop.compiler.write_bytes(b"\x7fELF no more")
    with pytest.raises(build.BuildError, match=f"{workshop.compiler} cannot be run"):
        build.find_or_build("kernels", workshop.cache)


def test_error_in_a_source_is_the_first_line(workshop):
    workshop.write("cpu.cc", "#error 32 bits are too few\n")
    with pytest.raises(build.BuildError) as error:
        build.find_or_build("kernels", workshop.cache)
    assert re.search("cpu.cc:1:.*error.*32 bits are too few", str(error.value).splitlines()[0])
    assert not list(workshop.cache.glob("*.so"))


def test_compiler_may_have_arguments(workshop, monkeypatch):
    monkeypatch.setenv("CXX", f"{workshop.compiler} -DANSWER=7")
    workshop.write_answer("ANSWER")
    assert workshop.read_answer(build.find_or_build("kernels", workshop.cache)) == 7


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86-64"
)
def test_sources_get_the_instruction_sets_they_ask_for(workshop):
    wanted = "#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)\n#error\n#endif\n"
    workshop.write("inner_loops_avx2.cc", wanted)
    for name in ("cpu.cc", "inner_loops_base.cc", "threads.cc"):
        workshop.write(name, "#ifdef __AVX__\n#error\n#endif\n")
    build.find_or_build("kernels", workshop.cache)
    unfused = workshop.commands("-ffp-contract=off")
    assert len(unfused) == 1 and "cpu.cc" in unfused[0]


def test_emulation_compiles_cuda_sources_as_cpp(cuda_workshop):
    check = "#if !defined(KMRCNN_EMULATE_CUDA) || !defined(__cplusplus)\n#error\n#endif\n"
    for name in build._CUDA:
        cuda_workshop.write(name, check)
    build.find_or_build("emulation", cuda_workshop.cache)
    assert len(cuda_workshop.commands(".cu -o")) == 3 and not cuda_workshop.commands("nvcc")


def test_sanitized_library_checks_addresses(workshop):
    check = "#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)\n#error\n#endif\n"
    workshop.write("cpu.cc", check)
    build.find_or_build("sanitized", workshop.cache)
    (link,) = workshop.commands("-shared")
    assert "-fsanitize=address,undefined" in link


# --- CUDA


def test_cuda_off_and_auto_without_a_toolkit_build_for_the_cpu(workshop, monkeypatch):
    assert build.plan("kernels").without_cuda == "KMRCNN_CUDA=off"
    monkeypatch.setenv("KMRCNN_CUDA", "auto")
    monkeypatch.setenv("PATH", "")
    assert "nvcc was not found" in build.plan("kernels").without_cuda
    workshop.add_program("nvcc", "", "cuda/bin")
    assert "libcudart_static.a of" in build.plan("kernels").without_cuda


def test_cuda_required_without_a_toolkit_is_an_error(workshop, monkeypatch):
    build.find_or_build("kernels", workshop.cache)
    monkeypatch.setenv("KMRCNN_CUDA", "require")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.BuildError, match="KMRCNN_CUDA=require, but nvcc was not found"):
        build.find_or_build("kernels", workshop.cache)


def test_cuda_is_off_although_there_is_a_toolkit(cuda_workshop, monkeypatch):
    monkeypatch.setenv("KMRCNN_CUDA", "off")
    assert "_cpu_" in build.find_or_build("kernels", cuda_workshop.cache).name
    assert not cuda_workshop.commands("nvcc")


@pytest.mark.parametrize(
    "name, value", [("KMRCNN_CUDA", "maybe"), ("KMRCNN_CUDA_ARCHS", "sm_90"), ("CXX", "'g++")]
)
def test_setting_that_cannot_be_is_an_error(cuda_workshop, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError):
        build.find_or_build("kernels", cuda_workshop.cache)


@pytest.mark.parametrize("place", ["CUDA_HOME", "PATH", "standard"])
def test_toolkit_is_found_where_it_may_be(cuda_workshop, monkeypatch, place):
    nvcc = cuda_workshop.toolkit / "bin" / "nvcc"
    if place != "CUDA_HOME":
        monkeypatch.delenv("CUDA_HOME")
    if place != "standard":
        monkeypatch.setattr(build, "CUDA_TOOLKIT", cuda_workshop.folder / "nowhere")
    linked = cuda_workshop.folder / "links"
    linked.mkdir()
    monkeypatch.setenv("PATH", str(linked))
    if place == "PATH":
        (linked / "nvcc").symlink_to(nvcc)
    cuda = build.plan("kernels").cuda
    assert cuda.nvcc == nvcc and cuda.libraries == cuda_workshop.toolkit / "lib64"


@pytest.mark.parametrize(
    "wanted, gpus, compiled, ptx",
    [
        ("80;90", "8.6\n", ["80", "90"], "90"),
        ("12.0, 8.6", "", ["86", "120"], "120"),
        ("", "9.0\n8.6\n9.0\n", ["86", "90"], "90"),
        ("", "No devices were found\n", [], "75"),
        ("", "", [], "75"),
    ],
)
def test_architectures_are_those_wanted_or_seen(
    cuda_workshop, monkeypatch, wanted, gpus, compiled, ptx
):
    monkeypatch.setenv("KMRCNN_CUDA_ARCHS", wanted)
    cuda_workshop.add_program("nvidia-smi", f"printf '{gpus}'" if gpus else "exit 9")
    path = build.find_or_build("kernels", cuda_workshop.cache)
    assert "_cuda_" in path.name and cuda_workshop.read_answer(path) == 42
    commands = cuda_workshop.commands("nvcc ")
    assert len(commands) == 3
    for command in commands:
        assert re.findall(r"code=sm_(\d+)", command) == compiled
        assert re.findall(r"arch=compute_(\d+),code=compute_(\d+)", command) == [(ptx, ptx)]
        assert f"-ccbin {cuda_workshop.compiler}" in command


def test_gpus_are_told_by_the_driver_without_a_process(cuda_workshop):
    for number, model in enumerate(["NVIDIA H200", "NVIDIA A100", "NVIDIA H200"]):
        file = cuda_workshop.folder / "gpus" / str(number) / "information"
        file.parent.mkdir(parents=True)
        file.write_text(f"Model: \t\t {model}\nIRQ:   \t\t 16\n")
    assert build.plan("kernels").cuda.gpus == "NVIDIA A100; NVIDIA H200"
    assert not cuda_workshop.commands()


def test_cuda_runtime_is_linked_before_tensorflow(cuda_workshop, monkeypatch):
    framework = ("2.21.0", ("-I/headers", "-DABI=1"), ("-L/tf", "-lm"))
    monkeypatch.setattr(build, "_framework", lambda target: framework)
    build.find_or_build("tensorflow", cuda_workshop.cache)
    (link,) = cuda_workshop.commands("-shared")
    assert link.index("-lcudart_static") < link.index("-L/tf") < link.index("-lm")
    assert "-Wl,--exclude-libs,ALL" in link
    (glue,) = cuda_workshop.commands("-DKMRCNN_WITH_CUDA")
    assert "tensorflow_op.cc" in glue and "-isystem/headers -DABI=1" in glue
    assert cuda_workshop.commands("/headers") == [glue]


def test_failing_nvcc_names_the_way_out(cuda_workshop):
    cuda_workshop.add_program("nvcc", "echo error: unsupported GNU version >&2; exit 1", "cuda/bin")
    with pytest.raises(build.BuildError, match="GNU version .KMRCNN_CUDA=off does without"):
        build.find_or_build("kernels", cuda_workshop.cache)


def test_library_that_lacks_the_cuda_runtime_is_refused(cuda_workshop):
    cuda_workshop.add_toolkit(
        'extern "C" int cudaMalloc(); int __attribute__((weak)) f() { return cudaMalloc(); }'
    )
    with pytest.raises(build.BuildError, match="cudaMalloc"):
        build.find_or_build("kernels", cuda_workshop.cache)
    assert not list(cuda_workshop.cache.glob("*.so"))


# --- the real sources


def test_file_needs_neither_kmrcnn_nor_tensorflow(workshop):
    loaded = "print({'kmrcnn', 'tensorflow', 'numpy'} & {m.split('.')[0] for m in sys.modules})"
    out, err = workshop.start(after=loaded).communicate()
    assert out.splitlines()[1:] == ["set()"], err


def test_real_kernels_build_and_load(tmp_path, monkeypatch):
    monkeypatch.setenv("KMRCNN_CUDA", "off")
    library = kernels.load(build.find_or_build("kernels", tmp_path))
    assert library.kmrcnn_cpu_isa(0) == 0


@pytest.mark.skipif(build.plan("kernels").cuda is None, reason="needs the CUDA toolkit")
def test_real_library_with_cuda_loads_without_a_gpu():
    import tensorflow as tf

    path = build.find_or_build("tensorflow")
    ops = tf.load_op_library(str(path))
    assert hasattr(ops, "kmrcnn_roi_align_grad")
    assert ctypes.CDLL(str(path)).kmrcnn_roi_align_forward_cuda
    symbols = subprocess.run(["nm", "-D", str(path)], capture_output=True, text=True).stdout
    assert "kmrcnn_roi_align_forward_cuda" in symbols
    assert not re.search(r" U _*cuda", symbols)
