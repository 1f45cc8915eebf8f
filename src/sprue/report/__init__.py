"""What is told of builds and bundles: pages, job summaries, comparisons.

`data.py` is the whole of what they know; `read.py` makes it of what a build left behind, or of a bundle.
"""
