"""Choosing variants: what to try, what to try next, and what to keep.

`candidates` (what a recipe writes), `search` and `trials` (where there are too many to try all), `widen` and
`mixed` with `sensitivity`, `halves` and `saturation` (what stays in float), `select` and `worth` (what is
kept, and what gains nothing), `aside` (what came nearest where nothing passed).
"""
