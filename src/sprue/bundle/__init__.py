"""Bundles: frozen snapshots of a model, its data, its artifacts and the evidence. Files and digests only.

`manifest` (what a bundle says of itself), `freeze` (making one), `check` (proving one), `store` with `blobs`,
`tags`, `reference` and `collect` (where they lie, what they share, how they are called, what goes), `archive`
and `receive` (one tar, out and in), `diff` (what changed), `hashing` (fast).
"""
