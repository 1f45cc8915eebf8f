"""A bucket of S3, or of what speaks like it. Credentials, region and endpoint come from AWS_* variables.

<prefix>/blobs/sha256/<digest>     content; every request that sends some carries its sha256, which S3 checks
<prefix>/refs/<ref>                what a ref means: canonical JSON {digest, mediaType, size}

Refs are created with If-None-Match and moved with If-Match, so S3 itself lets one writer win. Large
content is sent in parts; an upload that died goes on with the parts that are there and have the right digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sprue.errors import SprueError
from sprue.registry.documents import read_ref, ref_to_bytes
from sprue.registry.protocol import (
    ANYTHING,
    PIECE,
    UNKNOWN,
    Absent,
    Content,
    Descriptor,
    Registry,
    Stream,
    Taken,
    Unreachable,
    Wrong,
    check_ref,
    proven,
)

SCHEMES = ("s3",)
EXTRA = "s3"
PATIENCE = 5, 20
"""Seconds to connect, and to wait for the next bytes."""
PART = 8 << 20
MOST_PARTS = 10_000
"""Bytes of a part (more, if there would be too many), which is held in memory."""
MOST_REF = 4096
ABSENT = {"NoSuchKey", "404", "NotFound"}
REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
TRANSIENT = (408, 409, 429, 500, 502, 503, 504)
LASTING = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "NoSuchBucket",
    "403",
    "InvalidBucketName",
}


class S3:
    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._where = f"s3://{bucket}/{prefix}"
        self._refusal = ClientError
        self._transient = (HTTPClientError, OSError)
        self._broken = (BotoCoreError, ClientError, OSError)
        config = Config(
            connect_timeout=PATIENCE[0],
            read_timeout=PATIENCE[1],
            retries={"max_attempts": 0},
            max_pool_connections=16,
        )
        try:
            self._client: Any = boto3.client("s3", config=config)
        except (BotoCoreError, ValueError) as error:
            raise SprueError(f"cannot use S3: {error}", where=self._where) from error

    def has(self, what: Descriptor) -> bool:
        try:
            there = self._client.head_object(Bucket=self._bucket, Key=self._key(what))
        except self._broken as error:
            if self._code(error) in ABSENT:
                return False
            raise self._failed(error) from error
        return what.size in (UNKNOWN, there["ContentLength"])

    def put(self, what: Descriptor, content: Content) -> None:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        try:
            if size <= PART:
                data = b"".join(proven(what, content))
                self._put(self._key(what), data)
            else:
                self._put_parts(what, content, max(PART, -(-size // MOST_PARTS)))
        except self._broken as error:
            raise self._failed(error) from error

    def get(self, what: Descriptor, start: int = 0) -> Stream:
        ranged = {"Range": f"bytes={start}-"} if start else {}
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=self._key(what), **ranged)["Body"]
        except self._broken as error:
            if self._code(error) in ABSENT:
                raise Absent(f"there is no {what.short}", where=self._where) from error
            raise self._failed(error) from error
        return self._stream(body)

    def resolve(self, ref: str) -> Descriptor | None:
        return self._read_ref(check_ref(ref))[0]

    def commit(self, ref: str, what: Descriptor, *, instead_of: Descriptor | None = None) -> None:
        key, data = f"{self._prefix}refs/{check_ref(ref)}", ref_to_bytes(what)
        condition: dict[str, str] = {"IfNoneMatch": "*"}
        if instead_of == ANYTHING:
            condition = {}
        elif instead_of is not None:
            there, tag = self._read_ref(ref)
            if there not in (None, instead_of):
                raise Taken(ref, there, self._where)
            condition = {"IfMatch": tag} if there else condition
        try:
            self._put(key, data, **condition)
        except self._broken as error:
            if self._code(error) not in REFUSED:
                raise self._failed(error) from error
            there = self.resolve(ref)
            if there != what:
                raise Taken(ref, there, self._where) from error

    def close(self) -> None:
        self._client.close()

    def _key(self, what: Descriptor) -> str:
        return f"{self._prefix}blobs/sha256/{what.sha256}"

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        checksum = _checksum(hashlib.sha256(data))
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=checksum, **condition)

    def _put_parts(self, what: Descriptor, content: Content, size: int) -> None:
        at = {"Bucket": self._bucket, "Key": self._key(what)}
        upload, there = self._unfinished(at)
        parts = []
        try:
            for number, data in enumerate(_parts(what, content, size), 1):
                checksum = _checksum(hashlib.sha256(data))
                known, tag = there.get(number, ("", ""))
                if known != checksum and tag != _tag(data):
                    tag = self._client.upload_part(
                        **at, UploadId=upload, PartNumber=number, Body=data, ChecksumSHA256=checksum
                    )["ETag"]
                parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
        except Wrong:
            self._client.abort_multipart_upload(**at, UploadId=upload)
            raise
        self._client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload={"Parts": parts})

    def _unfinished(self, at: dict[str, str]) -> tuple[str, dict[int, tuple[str, str]]]:
        """An upload of this content, and its parts: number -> checksum ("" if it is not told) and tag. A new
        one if there is none."""
        begun = self._client.list_multipart_uploads(Bucket=at["Bucket"], Prefix=at["Key"]).get("Uploads", [])
        begun = [u["UploadId"] for u in begun if u["Key"] == at["Key"]]
        if not begun:
            made = self._client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")
            return str(made["UploadId"]), {}
        there: dict[int, tuple[str, str]] = {}
        for page in self._client.get_paginator("list_parts").paginate(**at, UploadId=begun[-1]):
            for part in page.get("Parts", []):
                there[part["PartNumber"]] = part.get("ChecksumSHA256", ""), part["ETag"]
        return str(begun[-1]), there

    def _read_ref(self, ref: str) -> tuple[Descriptor | None, str]:
        key = f"{self._prefix}refs/{ref}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return read_ref(answer["Body"].read(MOST_REF), f"{self._where}/refs/{ref}"), str(answer["ETag"])
        except self._broken as error:
            if self._code(error) in ABSENT:
                return None, ""
            raise self._failed(error) from error

    def _stream(self, body: Any) -> Stream:
        try:
            yield from body.iter_chunks(PIECE)
        except self._broken as error:
            raise self._failed(error) from error
        finally:
            body.close()

    def _code(self, error: Exception) -> str:
        return str(error.response.get("Error", {}).get("Code")) if isinstance(error, self._refusal) else ""

    def _failed(self, error: Exception) -> Unreachable:
        transient = isinstance(error, self._transient)
        if isinstance(error, self._refusal):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            # An upload that is gone was completed by somebody else, who sends the same.
            gone = self._code(error) == "NoSuchUpload"
            transient = gone or (self._code(error) not in LASTING and status in TRANSIENT)
        return Unreachable(str(error)[:300], where=self._where, transient=transient)


def connect(url: str) -> Registry:
    split = urlsplit(url)
    if not split.netloc:
        raise SprueError("no bucket", where=url, remedy="s3://bucket/prefix")
    return S3(split.netloc, split.path.strip("/"))


def _parts(what: Descriptor, content: Content, size: int) -> Iterator[bytes]:
    """Content in parts of `size` bytes; the last one only if all of it is right."""
    part = bytearray()
    for piece in proven(what, content):
        part += piece
        while len(part) >= size:
            yield bytes(part[:size])
            del part[:size]
    if part:
        yield bytes(part)


def _checksum(seen: Any) -> str:
    return base64.b64encode(seen.digest()).decode()


def _tag(data: bytes) -> str:
    """The tag of a part where it is not encrypted; completing the upload holds its sha256 against it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
