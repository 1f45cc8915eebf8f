"""A build and those before it.

`last_build` remembers what was found, `gate` with `allowance` and `rerun` holds a build against a bundle, and
`ratchet` against figures that are committed.
"""
