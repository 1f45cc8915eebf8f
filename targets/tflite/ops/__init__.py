"""One file per family of ONNX operators. A new file here is found without being named anywhere."""
