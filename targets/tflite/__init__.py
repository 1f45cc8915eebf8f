"""TFLite (LiteRT) for phones: our own lowering of ONNX, in the order in which a model passes through it.

`backend.py` is the contract. `lower.py` walks the ONNX graph (`fold.py` computes what is constant,
`expand.py` opens what ONNX defines by other operators), `ops/` holds one file per family of operators,
`layout.py` keeps NCHW outside and NHWC inside, `emit.py` is the graph in the making, `flatbuffer.py` writes
it, `quantize.py` makes it smaller, `artifact.py` reads back what nobody vouches for, `run.py` and
`tflite_runtime.py` execute it.
"""

from .backend import Tflite

BACKEND = Tflite()
