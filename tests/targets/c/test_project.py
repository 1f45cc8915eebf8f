"""The projects around the C sources, each built by the tool that it is for, as far as that is here."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from sprue.targets.c import BACKEND
from sprue.targets.c.check import lowered
from sprue.targets.c.emit import Source, emit, render

from sprue.backend import Variant
from sprue.target import load_target

from .models import reference

pytest.importorskip("ziglang", reason="needs the extra embedded")

Arrays = dict[str, NDArray[Any]]
TITLE = 'a "model"\n*/ $(touch pwned) ${CMAKE_VERSION} \\'
"""Graphs are called what their exporters like."""


def awkward() -> ModelProto:
    """Two inputs and two outputs of several types, called what no language takes for a name."""
    nodes = [
        helper.make_node("Relu", ["class"], ["1st*/"], "relu"),
        helper.make_node("Cast", ["1st*/"], ["cast"], "cast", to=TensorProto.INT64),
        helper.make_node("Add", ["cast", "Env"], ["env"], "add"),
    ]
    inputs = [
        helper.make_tensor_value_info("class", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("Env", TensorProto.INT64, [1, 4]),
    ]
    outputs = [
        helper.make_tensor_value_info("1st*/", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("env", TensorProto.INT64, [1, 4]),
    ]
    graph = helper.make_graph(nodes, TITLE, inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


FEEDS: Arrays = {
    "class": np.array([[-1.5, 0, 2.75, 9]], np.float32),
    "Env": np.array([[1, -2, 1 << 40, 0]]),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source]:
    out = tmp_path_factory.mktemp("project")
    BACKEND.compile(awkward(), Variant(load_target("cortex-m4"), "c", "float32"), FEEDS, out)
    program, _ = lowered(awkward())
    assert program is not None
    return out, emit(program)


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


MAIN = """
import sprue.Model;
import java.nio.file.Path;
import java.util.Arrays;

public class Main {
    public static void main(String[] arguments) {
        if (arguments.length > 0) {
            Model.load(Path.of(arguments[0]));
        }
        try {
            Model.run(new float[3], new long[4]);
        } catch (IllegalArgumentException error) {
            System.out.println(error.getMessage());
        }
        try {
            Model.run(null, new long[4]);
        } catch (IllegalArgumentException error) {
            System.out.println(error.getMessage());
        }
        float[] values = {-1.5f, 0f, 2.75f, 9f};
        Model.Outputs made = Model.run(values, new long[] {1L, -2L, 1L << 40, 0L});
        System.out.println(Arrays.toString(made.tensor_1st));
        System.out.println(Arrays.toString(made.env__));
    }
}
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("javac") and shutil.which("cmake") and shutil.which("gcc")),
    reason="needs a JDK, cmake and gcc",
)
def test_the_java_class_gives_what_onnxruntime_gives_and_refuses_wrong_lengths(
    project: tuple[Path, Source], tmp_path: Path
) -> None:
    out, _ = project
    home = Path(shutil.which("javac") or "").resolve().parents[1]
    run(["cmake", "-B", tmp_path / "build", "-S", out, "-DMODEL_JNI=ON"], tmp_path, JAVA_HOME=str(home))
    run(["cmake", "--build", tmp_path / "build", "--target", "model_jni"], tmp_path)
    (tmp_path / "Main.java").write_text(MAIN)
    classes = tmp_path / "classes"
    headers = tmp_path / "headers"
    java: list[str | Path] = [str(out / "java" / "sprue" / "Model.java"), "Main.java"]
    run(["javac", "-Xlint:all", "-Werror", "-d", classes, "-h", headers, *java], tmp_path)
    ours = out / "java" / "model_jni.h"
    both = f'#include "{headers / "sprue_Model.h"}"\n#include "{ours}"\n'
    (tmp_path / "both.c").write_text(both)
    includes = [f"-I{home / 'include'}", f"-I{home / 'include' / 'linux'}"]
    run(
        ["gcc", "-fsyntax-only", "-Wall", "-Werror", *includes, "both.c"], tmp_path
    )  # one prototype, or an error
    library = tmp_path / "build" / "libmodel_jni.so"
    wanted = [str(array[0].tolist()) for array in reference(awkward(), FEEDS).values()]
    refusals = ["'class' takes 4 elements"] * 2
    assert run(["java", "-cp", classes, "Main", library], tmp_path).splitlines() == [*refusals, *wanted]
    resource = classes / "native" / "linux-x86_64"
    resource.mkdir(parents=True)
    shutil.copy(library, resource)
    assert run(["java", "-cp", classes, "Main"], tmp_path).splitlines() == [*refusals, *wanted]


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("gcc")), reason="needs cmake and gcc")
def test_cmake_makes_a_shared_library_with_a_plain_c_interface(
    project: tuple[Path, Source], tmp_path: Path
) -> None:
    out, source = project
    run(["cmake", "-B", tmp_path, "-S", out, "-DBUILD_SHARED_LIBS=ON"], tmp_path)
    run(["cmake", "--build", tmp_path], tmp_path)
    run(["ctest", "--test-dir", tmp_path], tmp_path)
    library = ctypes.CDLL(str(tmp_path / "libmodel.so"))
    places = {}
    for kind, ports in (("input", source.inputs), ("output", source.outputs)):
        for port in ports:
            accessor = getattr(library, f"model_{kind}_{port.symbol}")
            accessor.restype = ctypes.c_void_p
            places[port.name] = accessor()
    numbers = (ctypes.c_float * 4)(-1.5, 0, 2.75, 9)
    ctypes.memmove(places["class"], numbers, 16)
    ctypes.memmove(places["Env"], (ctypes.c_int64 * 4)(1, 2, 3, 4), 32)
    library.model_run()
    assert list((ctypes.c_float * 4).from_address(places["1st*/"])) == [0, 0, 2.75, 9]
    assert list((ctypes.c_int64 * 4).from_address(places["env"])) == [1, 2, 5, 13]
    assert not (out / "pwned").exists()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_firmware_brings_what_compilers_call_without_being_asked(tmp_path: Path) -> None:
    """GCC makes calls of loops that copy, to memmove where they may overlap, in freestanding code too."""
    own = "".join(f"#define {name} own_{name}\n" for name in ("memcpy", "memmove", "memset"))
    (tmp_path / "memory.c").write_text(f"#include <stdint.h>\n{own}{render('memory.j2', {})}")
    run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "memory.c", "-o", "m.so"], tmp_path)
    library, size, address = ctypes.CDLL(str(tmp_path / "m.so")), ctypes.c_size_t, ctypes.c_void_p
    place = ctypes.create_string_buffer(b"0123456789", 10)
    start, wanted = ctypes.addressof(place), bytearray(b"0123456789")
    for call, to, source, count in (("memmove", 2, 0, 6), ("memmove", 0, 3, 5), ("memcpy", 0, 6, 4)):
        library[f"own_{call}"](address(start + to), address(start + source), size(count))
        wanted[to : to + count] = wanted[source : source + count]
        assert place.raw == wanted
    library.own_memset(address(start + 4), ord("x"), size(3))
    wanted[4:7] = b"xxx"
    assert place.raw == wanted


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_arduino_sketch_and_the_header_are_cxx(project: tuple[Path, Source], tmp_path: Path) -> None:
    """The Arduino core is not here: its two functions and its Serial are declared, so that g++ can look."""
    out, _ = project
    (tmp_path / "core.h").write_text(
        "struct Stream { void begin(long); void println(double); }; extern Stream Serial; void delay(long);\n"
    )
    command: list[str | Path] = [
        "g++",
        "-fsyntax-only",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        out / "src",
        "-include",
        "core.h",
    ]
    run([*command, "-x", "c++", out / "examples" / "run" / "run.ino"], tmp_path)
    lines = [li for li in (out / "library.properties").read_text().splitlines() if not li.startswith("#")]
    keys = [line.partition("=")[0] for line in lines]
    required = ["name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"]
    assert keys == [*required, "architectures", "includes"]
    assert all(line.isprintable() and line.partition("=")[2] for line in lines)


def test_the_zephyr_module_names_files_that_are_there(project: tuple[Path, Source]) -> None:
    out, _ = project
    module = (out / "zephyr" / "module.yml").read_text()
    assert "cmake: zephyr\n" in module
    assert "kconfig: zephyr/Kconfig\n" in module
    listed = (out / "zephyr" / "CMakeLists.txt").read_text()
    assert "../src/model.c" in listed
    assert (out / "zephyr" / ".." / "src" / "model.c").is_file()
    first = (out / "zephyr" / "Kconfig").read_text().splitlines()[1]
    assert first.count('"') == 2
