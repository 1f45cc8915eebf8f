"""A bucket of S3, or of what speaks like it. Credentials, region and endpoint come from AWS_* variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sprue.errors import SprueError
from sprue.remote.place import Stream, Unreachable

PATIENCE = 5, 20
"""Seconds to connect, and to wait for the next bytes."""
ABSENT = {"NoSuchKey", "404", "NotFound"}


class S3:
    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._refusal = ClientError
        self._broken = (BotoCoreError, ClientError, OSError)
        self._one_thread = TransferConfig(use_threads=False)
        config = Config(connect_timeout=PATIENCE[0], read_timeout=PATIENCE[1], retries={"max_attempts": 2})
        try:
            self._client: Any = boto3.client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise SprueError(f"cannot use S3: {error}", where=f"s3://{bucket}/{prefix}") from error

    def has(self, name: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        except self._broken as error:
            return self._absent(error)
        return True

    def get(self, name: str) -> Stream | None:
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"]
        except self._broken as error:
            self._absent(error)
            return None
        return self._stream(body)

    def put(self, name: str, file: Path) -> None:
        key = self._prefix + name
        try:
            with file.open("rb") as source:
                self._client.upload_fileobj(source, self._bucket, key, Config=self._one_thread)
        except Exception as error:
            # boto3 wraps what goes wrong here in an exception that is no BotoCoreError
            raise Unreachable(f"s3://{self._bucket}: {error}") from error

    def close(self) -> None:
        self._client.close()

    def _stream(self, body: Any) -> Stream:
        try:
            yield from body.iter_chunks(1 << 20)
        except self._broken as error:
            raise Unreachable(f"s3://{self._bucket}: {error}") from error
        finally:
            body.close()

    def _absent(self, error: Exception) -> bool:
        """False if the error says that there is no such object; anything else is raised."""
        if isinstance(error, self._refusal) and error.response.get("Error", {}).get("Code") in ABSENT:
            return False
        raise Unreachable(f"s3://{self._bucket}: {error}") from error
