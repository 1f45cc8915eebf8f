"""From a change to published bundles, on many machines: the jobs, what each leaves behind, and the last one.

`changes` (what git says), `affected` (which recipes that concerns, and why), `durations` (how long each took
before), `jobs` (the shards), `matrix` (all of it together), `formats` and `templates/` (as CI systems want
it); `shard` (what one job leaves behind), `merge` and `seal` (one bundle of all parts). `matrix_file` and
`shard_file` are the JSON that goes from job to job.
"""
