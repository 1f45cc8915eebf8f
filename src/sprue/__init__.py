"""sprue: a build system for trained models. One source, many targets, one frozen and proven bundle."""

import os

# onnxruntime reports every process and session to its maker and leaves an identifier in the home folder,
# unless this stands before it is first loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
