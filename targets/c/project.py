"""The C sources as the projects that people build: CMake, a Zephyr module, an Arduino library, a Java class.

src/            the model: model.c, model.h. All that a program of one's own needs
test/           golden vectors, as a program for a host and as a function for a device
CMakeLists.txt  static or shared library, self-test, JNI; for a microcontroller its firmware
zephyr/         module.yml, CMakeLists.txt, Kconfig
library.properties, examples/    an Arduino library
java/           sprue/Model.java, its JNI bridge and header

zephyr/, library.properties and examples/ are for microcontrollers only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sprue.border import Edge

from .emit import Port, Source, render
from .literals import comment
from .machine import Machine

PREFIX = "model"
"""Begins every public name."""

JAVA = {
    "float16": "short", "float32": "float", "float64": "double",
    "bool": "byte", "int8": "byte", "uint8": "byte",
    "int16": "short", "uint16": "short", "int32": "int", "uint32": "int", "int64": "long", "uint64": "long",
}  # fmt: skip
"""numpy dtype -> Java's type of the same size; Java has none without a sign."""

WORDS = frozenset(
    {
        *("abstract", "assert", "boolean", "break", "byte", "case", "catch", "char", "class", "const"),
        *("continue", "default", "do", "double", "else", "enum", "extends", "false", "final", "finally"),
        *("float", "for", "goto", "if", "implements", "import", "instanceof", "int", "interface", "long"),
        *("native", "new", "null", "package", "private", "protected", "public", "return", "short", "static"),
        *("strictfp", "super", "switch", "synchronized", "this", "throw", "throws", "transient", "true"),
        *("try", "void", "volatile", "while", "env", "fits", "outputs", "type"),
    }
)
"""Java's reserved words, and names that the templates use."""


@dataclass(frozen=True)
class JavaPort:
    """An input or output as the Java templates need it."""

    kind: str
    name: str
    accessor: str
    symbol: str
    dtype: str
    shape: str
    count: int
    java: str
    edge: Edge | None = None

    @property
    def jni(self) -> str:
        return f"j{self.java}"

    @property
    def region(self) -> str:
        return self.java.capitalize()

    @property
    def parameter(self) -> str:
        return f"{self.java}[] {self.symbol}"

    @property
    def constant(self) -> str:
        return f"{self.kind}_{self.symbol}".upper()

    @property
    def safe(self) -> str:
        return re.sub(r'[^ -~]|["\\?]', "?", self.name)


def write_text(path: Path, text: str) -> None:
    """The same bytes on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_project(out: Path, source: Source, machine: Machine, graph: str) -> None:
    """Write everything but the sources themselves. Deterministic."""
    title = " ".join("".join(c if c.isprintable() else " " for c in graph).split()) or "a model"
    shared = {
        "graph": title, "prefix": PREFIX, "guard": PREFIX.upper(), "arena": source.arena_bytes,
        "constants_bytes": source.constants_bytes, "gcc": machine.gcc, "compiler": machine.isa.gcc,
        "floats": machine.floats, "hosted": machine.hosted,
        "inputs": source.inputs, "outputs": source.outputs,
    }  # fmt: skip
    files = {
        "CMakeLists.txt": render("CMakeLists.txt.j2", shared),
        **_java(source, title, PREFIX),
        **({} if machine.hosted else _embedded(shared, title)),
    }
    for name, text in files.items():
        write_text(out / name, text)


def _embedded(shared: Mapping[str, object], title: str) -> Mapping[str, str]:
    return {
        "zephyr/module.yml": render("module.yml.j2", shared),
        "zephyr/CMakeLists.txt": render("zephyr_cmake.j2", shared),
        "zephyr/Kconfig": render("Kconfig.j2", {**shared, "graph": re.sub(r'["\\$]', "?", title)}),
        "library.properties": render("library.properties.j2", shared),
        "examples/run/run.ino": render("sketch.ino.j2", shared),
    }


def _java(source: Source, title: str, prefix: str) -> Mapping[str, str]:
    taken = set(WORDS)
    inputs = [_port("input", p, taken) for p in source.inputs]
    outputs = [_port("output", p, taken) for p in source.outputs]
    params = {
        "graph": comment(title), "prefix": prefix, "guard": prefix.upper(),
        "inputs": inputs, "outputs": outputs, "ports": [*inputs, *outputs],
    }  # fmt: skip
    return {
        "java/sprue/Model.java": render("Model.java.j2", params),
        f"java/{prefix}_jni.h": render("jni.h.j2", params),
        f"java/{prefix}_jni.c": render("jni.c.j2", params),
    }


def _port(kind: str, port: Port, taken: set[str]) -> JavaPort:
    symbol = port.symbol if not port.symbol[0].isdigit() else f"tensor_{port.symbol}"
    while symbol in taken:
        symbol += "_"
    taken.add(symbol)
    dtype, shape = port.value.dtype.name, str(list(port.value.shape))
    count = port.value.size
    return JavaPort(
        kind, comment(port.name), port.symbol, symbol, dtype, shape, count, JAVA[dtype], port.edge
    )
