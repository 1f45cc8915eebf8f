"""The shared second level of the cache: what other machines made, in a place that nobody needs to trust.

`place` (what a place must be able to do, and which there are), `folder`, `s3`, `oci` (one each), `signing`
(who may write), `record` (what is written) and `second_level` (reading through, and writing behind).
"""
