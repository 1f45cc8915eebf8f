"""A .tflite file as the projects that people build: an Android library module and a pod for iOS.

model.tflite, <output>_labels.txt
android/build.gradle.kts, src/main/kotlin/sprue/<name>/Model.kt    a module, the model among its assets
Sprue<Name>.podspec, ios/Model.swift                               a pod, the model in a resource bundle

Both classes have one method `run` with an array for each input and each output. The model's name is in the
package, in the folder of the assets and in the name of the pod, so that an app may have several models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sprue.border import Border, Edge
from sprue.description import Description, Meaning
from sprue.graph import TensorSpec

from .metadata import label_file

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")
SWIFT_WORDS = (
    *("Any", "Self", "actor", "as", "associatedtype", "await", "break", "case", "catch", "class", "continue"),
    *("default", "defer", "deinit", "do", "else", "enum", "extension", "fallthrough", "false", "fileprivate"),
    *("for", "func", "guard", "if", "import", "in", "init", "inout", "internal", "is", "let", "nil", "open"),
    *("operator", "precedencegroup", "private", "protocol", "public", "repeat", "rethrows", "return", "self"),
    *("static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try", "typealias"),
    *("var", "where", "while"),
)
KOTLIN_WORDS = ("fun", "interface", "null", "object", "package", "this", "typeof", "val", "when")
OF_TEMPLATES = (
    *("ASSETS", "Bundle", "Data", "Failure", "Interpreter", "Model", "Outputs", "SHA256", "String", "buffer"),
    *(
        "close",
        "context",
        "file",
        "integers",
        "interpreter",
        "it",
        "mapped",
        "numbers",
        "options",
        "require",
        "resource",
    ),
    *("run", "sha256", "threads"),
)
WORDS = frozenset({*SWIFT_WORDS, *KOTLIN_WORDS, *OF_TEMPLATES})
"""Reserved words that Kotlin and Swift have, and names that the templates use."""


@dataclass(frozen=True)
class Runtime:
    """What the projects depend on, and Android's lowest API level for it."""

    android: str
    min_sdk: int
    ios: str


LITERT = Runtime("com.google.ai.edge.litert:litert:1.4.2", 21, "~> 2.17")
OLD = Runtime("org.tensorflow:tensorflow-lite:2.14.0", 21, "~> 2.14")


@dataclass(frozen=True)
class Kind:
    """A dtype in both languages. `view`: the part of ByteBuffer's method names that makes a typed view."""

    size: int
    array: str
    swift: str
    view: str = ""

    def put(self, buffer: str, array: str) -> str:
        if self.array == "BooleanArray":
            return f"for (value in {array}) {buffer}.put((if (value) 1 else 0).toByte())"
        return f"{buffer}{self.view}.put({array})"

    def get(self, buffer: str, array: str) -> str:
        if self.array == "BooleanArray":
            return f"for (i in {array}.indices) {array}[i] = {buffer}.get() != 0.toByte()"
        return f"{buffer}{self.view}.get({array})"


KINDS = {
    "float32": Kind(4, "FloatArray", "Float", ".asFloatBuffer()"),
    "int64": Kind(8, "LongArray", "Int64", ".asLongBuffer()"),
    "int32": Kind(4, "IntArray", "Int32", ".asIntBuffer()"),
    "int16": Kind(2, "ShortArray", "Int16", ".asShortBuffer()"),
    "int8": Kind(1, "ByteArray", "Int8"),
    "uint8": Kind(1, "ByteArray", "UInt8"),
    "bool": Kind(1, "BooleanArray", "Bool"),
}
"""The dtypes that TFLite's Java and Swift interfaces have; ByteArray has no sign of its own."""


@dataclass(frozen=True)
class Port:
    """An input or output as the templates need it."""

    symbol: str
    buffer: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: Meaning
    edge: Edge | None = None

    @property
    def kind(self) -> Kind:
        return KINDS[self.dtype]

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def safe(self) -> str:
        """The name, for a text in quotes."""
        return quotable(self.name)

    @property
    def labels_symbol(self) -> str:
        return f"{self.symbol}Labels"

    @property
    def label_file(self) -> str:
        return label_file(self.name)

    @property
    def argument(self) -> str:
        return f"{self.symbol}: {self.kind.array}"

    @property
    def swift_argument(self) -> str:
        return f"{self.symbol}: [{self.kind.swift}]"

    @property
    def scale(self) -> str:
        """Of a port that is int8: the shortest decimal that reads back as the same float32."""
        assert self.edge is not None
        return str(np.float32(self.edge.scale))

    def comment(self, indent: str) -> str:
        return f"{indent}/** {self.words} */"

    def parameter(self, indent: str) -> str:
        return f"{indent}* @param {self.symbol} {self.words}"

    def swift_comment(self, indent: str) -> str:
        return f"{indent}/// {self.words}"

    def swift_parameter(self, indent: str) -> str:
        return f"{indent}/// - Parameter {self.symbol}: {self.words}"

    @cached_property
    def words(self) -> str:
        """One line for a comment."""
        said = self.meaning
        parts = [f"{self.name}: {self.dtype} {list(self.shape)}"]
        parts += [said.description] if said.description else []
        parts += [f"in {said.unit}"] if said.unit else []
        if said.mean:
            parts.append(f"(raw - {list(said.mean)}) / {list(said.std)}")
        if self.edge is not None:
            parts.append(f"a real number is {self.scale} * (integer - ({self.edge.zero_point}))")
        return commentable("; ".join(parts))


def write_project(
    out: Path,
    said: Description,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    runtime: Runtime,
    *,
    border: Border,
    precision: str,
    sha256: str,
    size: int,
) -> str:
    """Write both projects. Deterministic. Returns why not, "" if all is well."""
    strange = [s for s in (*inputs, *outputs) if s.dtype.name not in KINDS]
    if strange:
        return f"TFLite's Java and Swift interfaces have no {strange[0].dtype.name}: '{strange[0].name}'"
    taken = set(WORDS)
    fed = [_port("input", i, s, said.inputs, border.inputs, taken) for i, s in enumerate(inputs)]
    made = [_port("output", i, s, said.outputs, border.outputs, taken) for i, s in enumerate(outputs)]
    name = re.sub(r"[^a-z0-9]+", "_", said.name.lower()).strip("_") or "model"
    name = name if name[0].isalpha() and name not in WORDS else f"model_{name}"
    module = "Sprue" + "".join(part.capitalize() for part in name.split("_"))
    params = {
        "title": commentable(said.text or said.name or "a model"),
        "summary": quotable(said.text or said.name or "a model"),
        "licenses": quotable(", ".join(said.licenses) or "none stated"),
        "name": name, "package": f"sprue.{name}", "module": module,
        "precision": precision, "sha256": sha256, "bytes": size,
        "android_runtime": runtime.android, "min_sdk": runtime.min_sdk, "ios_runtime": runtime.ios,
        "inputs": fed, "outputs": made, "ports": [*fed, *made],
        "labelled": [p for p in made if p.meaning.labels],
    }  # fmt: skip
    files = {
        "android/build.gradle.kts": "build.gradle.kts.j2",
        "android/src/main/AndroidManifest.xml": "AndroidManifest.xml.j2",
        f"android/src/main/kotlin/sprue/{name}/Model.kt": "Model.kt.j2",
        "ios/Model.swift": "Model.swift.j2",
        f"{module}.podspec": "podspec.j2",
    }
    environment = _environment()
    for path, template in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        text = environment.get_template(template).render(params)
        (out / path).write_text(text, encoding="utf-8", newline="\n")
    return ""


def commentable(text: str) -> str:
    """One line that neither opens nor closes a comment, wherever it stands in one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.replace("*", "x").replace("/", "|") if re.search(r"[*]/|/[*]", line) else line


def quotable(text: str) -> str:
    """Printable ASCII without what ends a text in quotes or begins something in it."""
    return re.sub(r"""[^ -~]|["'\\$#]""", "?", text)


def _port(
    kind: str, index: int, spec: TensorSpec, said: Mapping[str, Meaning], edges: Mapping[str, Edge],
    taken: set[str],
) -> Port:  # fmt: skip
    symbol = re.sub(r"[^A-Za-z0-9]+", "_", spec.name).strip("_")
    symbol = symbol if symbol[:1].isalpha() else f"tensor_{symbol}".rstrip("_")
    while symbol in taken or f"{symbol}Labels" in taken or re.fullmatch(r"(in|out)put\d+Buffer", symbol):
        symbol += "_"
    taken |= {symbol, f"{symbol}Labels"}
    shape = tuple(d or 1 for d in spec.shape)
    edge = edges.get(spec.name)
    edge = None if edge is None or edge.scale is None else edge
    meaning = said.get(spec.name, Meaning())
    return Port(symbol, f"{kind}{index}Buffer", spec.name, shape, spec.dtype.name, meaning, edge)


@cache
def _environment() -> jinja2.Environment:
    """Nothing is escaped: what comes from a model passes `commentable` or `quotable`, or is a symbol."""
    import jinja2

    return jinja2.Environment(  # noqa: S701  # the texts are Kotlin, Swift, Gradle and Ruby
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
