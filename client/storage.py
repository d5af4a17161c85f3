"""The project's objects in S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from client.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class StorageError(Refusal):
    """Files or objects that are not there; the message says where they were looked for."""


def files(path: Path) -> list[Path]:
    """Return a file, or the files below a directory, without hidden ones.

    Raises:
        StorageError: if there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(
        file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")
    )
    if not found:
        raise StorageError(
            f"{path} holds no files; expected CSV files, which python -m client data makes."
        )
    return found


@dataclass(frozen=True)
class Prefix:
    """All objects of a bucket whose keys begin alike: a directory of S3."""

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Prefix:
        """Return s3://BUCKET/KEY, taken apart.

        Raises:
            StorageError: if it is not that.
        """
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.netloc:
            raise StorageError(f"{uri!r} is no address in S3; expected s3://BUCKET/PREFIX.")
        return cls(parts.netloc, parts.path.strip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> Prefix:
        return Prefix(self.bucket, f"{self.key}/{name}".strip("/"))

    def objects(self, s3: Any) -> Iterator[dict[str, Any]]:
        """Yield each object below, with Key and Size."""
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.key}/"
        )
        for page in pages:
            yield from page.get("Contents", [])

    def versions(self, s3: Any) -> list[dict[str, Any]]:
        """Return each version of each object below, with Key and VersionId; also what hides one.

        A bucket that keeps no versions has one of each object.
        """
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, Prefix=f"{self.key}/"
        )
        kinds = ("Versions", "DeleteMarkers")
        return [found for page in pages for kind in kinds for found in page.get(kind, [])]

    def directories(self, s3: Any) -> list[str]:
        """Name what would be the directories in this one."""
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.key}/", Delimiter="/"
        )
        found = [below["Prefix"] for page in pages for below in page.get("CommonPrefixes", [])]
        return sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in found)

    def upload(self, s3: Any, path: Path) -> Iterator[tuple[str, int]]:
        """Copy a file, or a directory's; yield each one's address and size, once it is there.

        Raises:
            StorageError: if there is no file.
        """
        directory = path.parent if path.is_file() else path
        for file in files(path):
            key = (self / file.relative_to(directory).as_posix()).key
            s3.upload_file(str(file), self.bucket, key)
            yield f"s3://{self.bucket}/{key}", file.stat().st_size

    def download(self, s3: Any, name: str, path: Path) -> None:
        """Copy one object into a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # boto3 itself writes to a temporary name and renames.
        s3.download_file(self.bucket, (self / name).key, str(path))

    def delete(self, s3: Any, objects: Iterable[dict[str, Any]]) -> None:
        """Delete objects, or these versions of them.

        Raises:
            StorageError: if S3 keeps some.
        """
        names = [
            {name: found[name] for name in ("Key", "VersionId") if name in found}
            for found in objects
        ]
        # Where no versions are kept, to delete an object takes no right on versions.
        if all(name.get("VersionId", "null") == "null" for name in names):
            names = [{"Key": name["Key"]} for name in names]
        for start in range(0, len(names), 1000):  # the most that S3 takes at a time
            answer = s3.delete_objects(
                Bucket=self.bucket, Delete={"Objects": names[start : start + 1000], "Quiet": True}
            )
            if kept := answer.get("Errors"):
                raise StorageError(
                    f"S3 kept {len(kept)} objects of {self}, the first {kept[0]['Key']}: "
                    f"{kept[0].get('Message', kept[0].get('Code'))}; client/iam/user.json allows "
                    "s3:DeleteObject and, where a bucket keeps versions, s3:DeleteObjectVersion."
                )
