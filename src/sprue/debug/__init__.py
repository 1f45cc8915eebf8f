"""Where an artifact leaves the reference: the first tensor of the graph, and the least that shows it.

`cut` (graphs out of graphs), `steps` (what the actions call), `search` (exposing all tensors at once, else
bisection, then shrinking) and `reproduce` (what was found as a project of its own).
"""
