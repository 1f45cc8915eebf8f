"""The engine: runs a graph of actions, each once, and remembers what they made. It knows nothing of models.

In the order that the data passes them: `action` (what there is to do), `key` (whether it was done before),
`cache` (what it made), `worker` and `pool` (doing it, in other processes), `ray_task` and `ray_pool` (doing
it on other machines), `run` (all of it, in order).
"""
