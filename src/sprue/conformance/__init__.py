"""ONNX's own node tests, asked of any backend.

`cases` (each test as a model that sprue takes), `judge` (what `check` accepts must be right), `actions` (one
cached action a case), `expected` (what is committed of each backend) and `table` (operator x backend).
"""
