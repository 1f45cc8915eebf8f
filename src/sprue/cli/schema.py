"""`sprue schema`: JSON Schemas for the files that people write, for completion in editors."""

from __future__ import annotations

import click

from sprue.cli import _options


@click.command()
@click.argument(
    "kind", type=click.Choice(["recipe", "model", "target", "manifest", "policy", "matrix", "shard"])
)
@_options.as_json
def command(kind: str, as_json: bool) -> None:
    """Print the JSON Schema of a file that people write, or that sprue does: always JSON."""
    from pydantic import BaseModel

    from sprue.bundle.manifest import Manifest
    from sprue.ci.matrix_file import MatrixFile
    from sprue.ci.shard_file import ShardFile
    from sprue.model import ModelFile
    from sprue.recipe import RecipeFile
    from sprue.target_file import TargetFile
    from sprue.trust.policy import PolicyFile

    kinds: dict[str, type[BaseModel]] = {
        "recipe": RecipeFile,
        "model": ModelFile,
        "target": TargetFile,
        "manifest": Manifest,
        "policy": PolicyFile,
        "matrix": MatrixFile,
        "shard": ShardFile,
    }
    made = kinds[kind].model_json_schema(by_alias=True)
    _options.print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **made})
