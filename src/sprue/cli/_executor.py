"""`--executor`: where the actions of a build run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sprue.engine.pool import Executor

PRELOAD = ("numpy", "onnx", "sprue.steps", "onnxruntime")
"""What the first actions of every build import."""

kind = click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Where actions run: in processes here, or on a Ray cluster (see docs/ray.md).",
)


class Size(click.ParamType[int]):
    """Bytes, with a unit or without."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from sprue.quantity import parse_size

        try:
            return parse_size(int(value) if isinstance(value, str) and value.isdigit() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


memory = click.option(
    "--memory",
    type=Size(),
    help='All workers together may use this much, such as "8 GiB" (default: 90 % of what is available).',
)
address = click.option("--ray-address", metavar="auto|HOST:PORT", help="The Ray cluster (default: auto).")


@contextmanager
def executor(kind: str, address: str | None, jobs: int | None, memory: int | None) -> Iterator[Executor]:
    """What runs the actions. Raises SprueError for a cluster that cannot be used."""
    from sprue.machine import cores

    if kind == "local":
        if address is not None:
            raise click.UsageError("--ray-address is for --executor ray")
        from sprue.engine.memory import default_budget
        from sprue.engine.pool import Pool

        workers, budget = jobs or cores(), memory or default_budget()
        with Pool(workers, max(1, cores() // workers), budget, preload=PRELOAD) as pool:
            yield pool
        return
    from sprue.engine.ray_pool import RayPool
    from sprue.environment import facts

    with RayPool(address or "auto", facts=facts, jobs=jobs) as cluster:
        yield cluster
