"""The shared second level of the cache: what other machines made, in a registry that nobody needs to trust.

`signing` (who may write), `record` (what is written), `entries` (how a registry keeps it) and `second_level`
(reading through, and writing behind).
"""
