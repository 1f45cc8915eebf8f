"""Judging artifacts: are the answers right, what is the metric, and how sure is that.

`tolerance` and `verify` (outputs, element by element), `metric` and `own_metric` (one number), `margin` and
`certainty` (how sure it is), `acceptance` (what a recipe accepts), `parity` (artifacts and each other).
"""
