"""Measuring artifacts: what differs from run to run, so that no id covers it, and what an inference costs.

`measure` (rounds, side by side), `timing` (which is faster), `processors` (who else used the machine),
`resident` (peak memory, of the process `deployed`), `measured` (all of one artifact), `work`, `cost` and
`price` (what it comes to).
"""
