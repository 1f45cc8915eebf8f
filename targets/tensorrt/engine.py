"""The program that touches NVIDIA's libraries. It runs only as a child process (see child.py): without a
driver they may crash, and what crashes or hangs here takes nothing else down.

`tensorrt` and `tensorrt_rtx` share one Python API, so both are driven by the same code, given by `module`.
Written against the API of TensorRT 10.8 to 11 and of cuda-bindings 12 and 13.

    python -P engine.py probe                    what TensorRT and which GPU are here
    python -P engine.py support '{...}'          which nodes the ONNX parser refuses
    python -P engine.py build   '{...}'          ONNX -> serialized engine
    python -P engine.py serve   '{...}'          load an engine, answer framed requests until the input ends

The first three print one line of JSON. This file imports nothing of sprue, and ships beside the artifact,
where load.py opens the engine with it.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

HEAD = struct.Struct("<QQ")
"""Before each message of `serve`: the sizes in bytes of its JSON header and of the tensors after it."""
MAX_HEADER, MAX_TENSORS = 2**20, 2**32


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """Asks the driver before TensorRT: without a driver TensorRT's own calls may crash."""
    cuda = importlib.import_module("cuda.bindings.runtime")
    if _checked(cuda, cuda.cudaGetDeviceCount()) == 0:
        raise RuntimeError("the driver sees no GPU")
    major = _checked(
        cuda, cuda.cudaDeviceGetAttribute(cuda.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor, 0)
    )
    minor = _checked(
        cuda, cuda.cudaDeviceGetAttribute(cuda.cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor, 0)
    )
    driver = _checked(cuda, cuda.cudaDriverGetVersion())
    name = _checked(cuda, cuda.cudaGetDeviceProperties(0)).name
    trt = importlib.import_module("tensorrt")
    _Network(trt, trt.Logger.ERROR)  # fails, or crashes, where TensorRT and the driver do not fit
    return {
        "tensorrt": trt.__version__,
        "compute_capability": f"{major}.{minor}",
        "driver": f"{driver // 1000}.{driver % 1000 // 10}",
        "device": name.decode() if isinstance(name, bytes) else str(name),
    }


def support(request: dict[str, Any]) -> dict[str, Any]:
    """Each node that the parser refuses; empty when it takes the model."""
    trt = importlib.import_module(request["module"])
    made = _Network(trt, trt.Logger.INTERNAL_ERROR)
    taken = made.parser.supports_model_v2(Path(request["model"]).read_bytes())
    return {"version": trt.__version__, "supported": bool(taken), "refused": _errors(made.parser)}


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Build from `model` into `out`, as `profile` (input -> [min, opt, max] shapes) and `flags` say."""
    trt = importlib.import_module(request["module"])
    made = _Network(trt, trt.Logger.WARNING)
    if not made.parser.parse(Path(request["model"]).read_bytes()):
        return {"built": False, "refused": _errors(made.parser)}
    config = made.builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    for flag, on in sorted(request["flags"].items()):
        (config.set_flag if on else config.clear_flag)(getattr(trt.BuilderFlag, flag))
    if request["profile"]:
        profile = made.builder.create_optimization_profile()
        for name, (least, usual, most) in sorted(request["profile"].items()):
            profile.set_shape(name, tuple(least), tuple(usual), tuple(most))
        if config.add_optimization_profile(profile) < 0:
            raise RuntimeError("TensorRT refuses the optimization profile")
    plan = made.builder.build_serialized_network(made.network, config)
    if plan is None:
        return {"built": False, "refused": [], "reason": made.logger.reason}
    Path(request["out"]).write_bytes(plan)
    return {"built": True, "refused": [], "version": trt.__version__}


def serve(request: dict[str, Any], answers: BinaryIO) -> None:
    """Load `plan`, then answer each message of inputs on standard input with one of outputs."""
    run = _Engine(request["plan"])
    _say(answers, pack({}))  # ready
    while True:
        try:
            feeds, _ = unpack(sys.stdin.buffer.read)
        except EOFError:
            return
        start = time.perf_counter()
        outputs = run(feeds)
        _say(answers, pack(outputs, seconds=time.perf_counter() - start))


def open_artifact(entry: Path, contract: dict[str, Any]) -> _Engine:
    """For load.py, beside which this file ships: the engine, from a batch's inputs to its outputs."""
    plan = entry.parent / "triton" / "model" / "1" / "model.plan"
    if not plan.is_file():
        raise RuntimeError(f"the engine is not built yet; {entry.name} says how, under 'trtexec'")
    return _Engine(str(plan))


def pack(tensors: dict[str, Any], **facts: float | str) -> bytes:
    """A message: sizes, the header {"tensors": [[name, dtype, shape], ...], **facts}, the raw tensors."""
    import numpy as np

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    listed = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
    header = json.dumps({**facts, "tensors": listed}).encode()
    body = b"".join(a.tobytes() for a in arrays.values())
    return HEAD.pack(len(header), len(body)) + header + body


def unpack(read: Callable[[int], bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors and facts of the next message. Raises EOFError at the end, ValueError for what is none."""
    import numpy as np

    sizes = HEAD.unpack(_exactly(read, HEAD.size))
    if sizes[0] > MAX_HEADER or sizes[1] > MAX_TENSORS:
        raise ValueError("the message is too large")
    facts = json.loads(_exactly(read, sizes[0]))
    body, offset, tensors = _exactly(read, sizes[1]), 0, {}
    for name, kind, shape in facts.pop("tensors"):
        dtype, count = np.dtype(kind), math.prod(shape)
        tensors[name] = np.frombuffer(body, dtype, count, offset).reshape(shape)
        offset += count * dtype.itemsize
    return tensors, facts


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) < size:
        raise EOFError("the pipe ended")
    return data


def _say(stream: BinaryIO, message: bytes) -> None:
    stream.write(message)
    stream.flush()


class _Engine:
    """A deserialized engine with its stream and device buffers, which only grow."""

    def __init__(self, plan: str) -> None:
        self.cuda = importlib.import_module("cuda.bindings.runtime")
        self.trt = importlib.import_module("tensorrt")
        self.logger = _listener(self.trt, self.trt.Logger.WARNING)
        self.runtime = self.trt.Runtime(self.logger)
        self.engine = self.runtime.deserialize_cuda_engine(Path(plan).read_bytes())
        if self.engine is None:
            raise RuntimeError(f"TensorRT cannot load the engine: {self.logger.reason}")
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise RuntimeError(
                f"TensorRT cannot run the engine, for lack of GPU memory? {self.logger.reason}"
            )
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        fed = self.trt.TensorIOMode.INPUT
        self.inputs = [n for n in names if self.engine.get_tensor_mode(n) == fed]
        self.outputs = [n for n in names if n not in self.inputs]
        self.stream = _checked(self.cuda, self.cuda.cudaStreamCreate())
        self.buffers: dict[str, tuple[int, int]] = {}

    def __call__(self, feeds: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        kinds = self.cuda.cudaMemcpyKind
        held = {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}
        for name, array in held.items():
            wanted = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name)))
            if array.dtype != wanted:
                raise RuntimeError(f"the engine takes '{name}' as {wanted}, not {array.dtype}")
            if not self.context.set_input_shape(name, array.shape):
                raise RuntimeError(f"the engine takes no '{name}' of shape {array.shape}")
            self._copy(self._bind(name, array.nbytes), array.ctypes.data, array, kinds.cudaMemcpyHostToDevice)
        made: dict[str, Any] = {}
        for name in self.outputs:  # their shapes are known once every input's shape is set
            shape = tuple(self.context.get_tensor_shape(name))
            if any(d < 0 for d in shape):
                raise RuntimeError(f"the shape of output '{name}' depends on the data")
            made[name] = np.empty(shape, self.trt.nptype(self.engine.get_tensor_dtype(name)))
            self._bind(name, made[name].nbytes)
        if not self.context.execute_async_v3(stream_handle=int(self.stream)):
            raise RuntimeError(f"TensorRT could not execute the engine: {self.logger.reason}")
        for name, array in made.items():
            self._copy(array.ctypes.data, self.buffers[name][0], array, kinds.cudaMemcpyDeviceToHost)
        _checked(self.cuda, self.cuda.cudaStreamSynchronize(self.stream))
        return made

    def _bind(self, name: str, size: int) -> int:
        pointer, room = self.buffers.get(name, (0, 0))
        if room < size or pointer == 0:
            if pointer:
                _checked(self.cuda, self.cuda.cudaFree(pointer))
            room = max(size, 1)
            pointer = int(_checked(self.cuda, self.cuda.cudaMalloc(room)))
            self.buffers[name] = (pointer, room)
        if not self.context.set_tensor_address(name, pointer):
            raise RuntimeError(f"TensorRT refuses the buffer of '{name}'")
        return pointer

    def _copy(self, to: int, source: int, array: Any, kind: Any) -> None:
        _checked(self.cuda, self.cuda.cudaMemcpyAsync(to, source, array.nbytes, kind, self.stream))


class _Network:
    """Builder, network and parser, which point to one another without owning: they must live equally long."""

    def __init__(self, trt: Any, severity: Any) -> None:
        self.logger = _listener(trt, severity)
        self.builder = trt.Builder(self.logger)
        # TensorRT 11 has no other kind of network and ignores the flag; 10 needs it
        strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.network = self.builder.create_network(strongly_typed)
        self.parser = trt.OnnxParser(self.network, self.logger)


def _listener(trt: Any, least: Any) -> Any:
    """A logger that prints what is at least as grave as `least`, and whose `reason` is the first error.

    TensorRT's calls return None or False, and say why to their logger alone.
    """
    grave = (trt.Logger.ERROR, trt.Logger.INTERNAL_ERROR)

    class Listener(trt.ILogger):  # type: ignore[misc]  # its base is known where TensorRT is
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 refuses super()
            self.reason = "it does not say why"
            self.heard = False

        def log(self, severity: Any, message: str) -> None:
            if severity in grave and not self.heard:
                self.heard, self.reason = True, " ".join(message.split())
            if int(severity) <= int(least):  # the gravest is 0
                print(f"TensorRT: {message}", file=sys.stderr)

    return Listener()


def _errors(parser: Any) -> list[dict[str, Any]]:
    """By node index, name, operator and reason; the first line of a reason names no address or driver."""
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    return [
        {
            "index": e.node(),
            "node": e.node_name(),
            "op": e.node_operator(),
            "code": str(e.code()).rpartition(".")[2],
            "reason": next((line for line in e.desc().splitlines() if line), ""),
        }
        for e in found
    ]


def _checked(cuda: Any, result: tuple[Any, ...]) -> Any:
    """cuda-bindings return (status, values...); this returns the value or raises with CUDA's own message."""
    status, *values = result
    if status != cuda.cudaError_t.cudaSuccess:
        _, text = cuda.cudaGetErrorString(status)
        raise RuntimeError(f"CUDA: {text.decode() if isinstance(text, bytes) else text}")
    return values[0] if values else None


def main(arguments: list[str]) -> int:
    verb, request = arguments[0], json.loads(arguments[1]) if len(arguments) > 1 else {}
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # TensorRT's loggers print to standard output, which belongs to the answers
    try:
        if verb == "serve":
            serve(request, answers)
        else:
            verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
                "probe": probe,
                "support": support,
                "build": build,
            }
            _say(answers, json.dumps(verbs[verb](request), sort_keys=True).encode() + b"\n")
    except Exception as error:  # the parent turns this into its own error, with the text that we know
        text = f"{type(error).__name__}: {error}"
        _say(
            answers, pack({}, error=text) if verb == "serve" else json.dumps({"error": text}).encode() + b"\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # the answer is out: a crash while the libraries are torn down would only spoil it
