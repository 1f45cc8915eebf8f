"""Bundles: frozen snapshots of a model, its data, its artifacts and the evidence. Files and digests only.

`manifest` (what a bundle says of itself), `freeze` (making one), `check` (proving one), `store` (where they
lie).
"""
