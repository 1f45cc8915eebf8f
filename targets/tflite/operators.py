"""What each operation of a .tflite file costs.

LiteRT's own profiler has no Python API (2.3). So each operation is taken out of the file into one of its
own, fed with the tensors that it gets in the model, and run alone by the same interpreter with the same
delegate. What a call of the interpreter costs by itself is measured with the smallest of models, and
subtracted. What a delegate gains from two operations at once is not seen; so these seconds rank operations,
and their sum is not the model's latency.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sprue.backend import Operator
from sprue.passes.quiet import quiet

from .emit import Operation, Tensor
from .flatbuffer import pack, read, schema, write

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

SECONDS = 0.15
"""For all operations together."""
FEWEST_RUNS = 5
MOST_RUNS = 500

Arrays = Mapping[str, NDArray[np.generic]]


def operators(data: bytes, threads: int, inputs: Arrays) -> tuple[Operator, ...]:
    """The operations that depend on the input, in order, named by their first output; () for several
    subgraphs.
    """
    model = read(data)
    if len(model.subgraphs) != 1:
        return ()
    tensors = _tensors(data, inputs)
    constant = {i for i, t in enumerate(model.subgraphs[0].tensors) if _is_constant(model, t)}
    steps = []
    for step in model.subgraphs[0].operators:
        if all(i < 0 or i in constant for i in step.inputs):
            # Computed when the model is loaded; or a state that is set to zeros, which costs next to nothing.
            constant.update(i for i in step.outputs if not model.subgraphs[0].tensors[i].isVariable)
        else:
            steps.append(step)
    budget = SECONDS / max(len(steps), 1)
    idle = _seconds(_interpreter(_smallest(), threads), budget)
    made = []
    for step in steps:
        spent = _seconds(_alone(model, step, constant, tensors, threads), budget)
        name = model.subgraphs[0].tensors[step.outputs[0]].name.decode()
        made.append(Operator(name, _type(model, step), seconds=max(spent - idle, 0.0)))
    return tuple(made)


def _tensors(data: bytes, inputs: Arrays) -> Interpreter:
    """An interpreter that has run `inputs` and still holds every tensor, by its number in the file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet():
        made = Interpreter(
            model_content=data, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
        )
        made.allocate_tensors()
        for detail in made.get_input_details():
            made.set_tensor(detail["index"], np.ascontiguousarray(inputs[detail["name"]]))
        made.invoke()
    return made


def _alone(model: Any, step: Any, constant: set[int], tensors: Interpreter, threads: int) -> Interpreter:
    """A model of one operation, loaded and fed."""
    s = schema()
    graph = model.subgraphs[0]
    used = [i for i in (*step.inputs, *step.outputs, *_intermediates(step)) if i >= 0]
    number = {old: new for new, old in enumerate(dict.fromkeys(used))}
    buffers = [s.BufferT()]
    kept = []
    for old in number:
        tensor = s.TensorT()
        tensor.__dict__ |= graph.tensors[old].__dict__
        data = model.buffers[tensor.buffer].data if _is_constant(model, tensor) else None
        if data is None and old in constant:
            data = np.frombuffer(tensors.get_tensor(old).tobytes(), np.uint8)
        tensor.buffer = 0 if data is None else len(buffers)
        if data is not None:
            buffers.append(s.BufferT(data=data))
        kept.append(tensor)
    operation = s.OperatorT()
    operation.__dict__ |= step.__dict__
    operation.opcodeIndex = 0
    operation.inputs = [number.get(i, -1) for i in step.inputs]
    operation.outputs = [number[i] for i in step.outputs]
    operation.intermediates = [number[i] for i in _intermediates(step)]
    fed = [
        i
        for i in dict.fromkeys(step.inputs)
        if i >= 0 and i not in constant and not graph.tensors[i].isVariable
    ]
    alone = s.ModelT(
        version=model.version,
        operatorCodes=[model.operatorCodes[step.opcodeIndex]],
        subgraphs=[
            s.SubGraphT(
                tensors=kept,
                operators=[operation],
                inputs=[number[i] for i in fed],
                outputs=operation.outputs,
            )
        ],
        buffers=buffers,
    )
    made = _interpreter(write(alone), threads)
    for detail, old in zip(made.get_input_details(), fed, strict=True):
        made.set_tensor(detail["index"], tensors.get_tensor(old))
    return made


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0 and not tensor.isVariable


def _intermediates(step: Any) -> list[int]:
    """Scratch tensors that a quantized LSTM names; [] for all else."""
    return [] if step.intermediates is None else list(step.intermediates)


def _type(model: Any, step: Any) -> str:
    code = model.operatorCodes[step.opcodeIndex]
    names: dict[int, str] = {v: k for k, v in vars(schema().BuiltinOperator).items() if isinstance(v, int)}
    return names[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _smallest() -> bytes:
    """One number, made positive."""
    one = np.dtype(np.float32)
    entered = Tensor("in", (1,), one)
    left = Tensor("out", (1,), one)
    left.producer = Operation("ABS", [entered], [left])
    return pack([entered], [left])


def _interpreter(data: bytes, threads: int) -> Interpreter:
    from .run import interpreter

    return interpreter(data, threads, "one operation")


def _seconds(made: Interpreter, budget: float) -> float:
    """The median of some calls, after one to warm up."""
    made.invoke()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < FEWEST_RUNS or (len(times) < MOST_RUNS and time.perf_counter() < end):
        started = time.perf_counter()
        made.invoke()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
