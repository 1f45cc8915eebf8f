"""ONNX -> ONNX changes, one file each. Each is a frozen dataclass that fulfils `sprue.backend.Pass`."""
