"""What a hub announces, its files, and its cache on this disk.

Nothing that a hub sends is believed: names, sizes and hashes are validated before they are used,
contents are hashed by whoever fetched them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from logging import CRITICAL
from pathlib import Path
from typing import BinaryIO, cast

import httpx2

import orchestrator
from orchestrator.checkpoint_record import MAX_FILES, FileRecord
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.hub.problems import in_words  # first, as it guards the import of the next

# isort: split
from huggingface_hub import HfApi, constants, get_token, hf_hub_url, scan_cache_dir
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import logging
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils.tqdm import disable_progress_bars

ANSWER_TIMEOUT_S = 30.0
MAX_LICENCE_CHARS = 100
# what is held back until it is written is lost when a connection drops: 10 MB by default
constants.DOWNLOAD_CHUNK_SIZE = 1 << 20
constants.HF_HUB_DISABLE_TELEMETRY = True  # and no list of other programs is fetched for it
logging.set_verbosity(CRITICAL)  # it logs addresses that let anybody fetch the file
with warnings.catch_warnings(action="ignore"):
    disable_progress_bars()


@dataclass(frozen=True)
class Announced:
    """What a hub says of one revision of a repository."""

    commit: str
    licence: str | None
    gated: bool
    files: tuple[FileRecord, ...]


def announced(repository: str, revision: str) -> Announced:
    """Ask the hub. Raises CheckpointError."""
    with in_words(repository, revision):
        info = HfApi(library_name="asrbench", library_version=orchestrator.__version__).model_info(
            repository,
            revision=revision,
            files_metadata=True,
            timeout=ANSWER_TIMEOUT_S,
            token=_token(),
        )
        siblings = info.siblings or []
        if len(siblings) > MAX_FILES:
            raise ValueError("too many files")
        licence = getattr(info.card_data, "license", None)
        if isinstance(licence, str):  # half a surrogate pair has no place in a record
            licence = licence[:MAX_LICENCE_CHARS].encode("utf-8", "replace").decode("utf-8")
        return Announced(  # pydantic refuses what is of another type
            commit=str(info.sha),
            licence=licence if isinstance(licence, str) else None,
            gated=bool(info.gated),
            files=tuple(
                FileRecord(
                    name=one.rfilename,
                    size_bytes=cast(int, one.lfs.size if one.lfs else one.size),
                    sha256=one.lfs.sha256 if one.lfs else None,
                    git_sha1=None if one.lfs else one.blob_id,
                )
                for one in siblings
            ),
        )


def fetch(
    repository: str, commit: str, file: FileRecord, partial: Path, advance: Callable[[int], None]
) -> None:
    """Get one file into partial, going on with what is in it. Raises CheckpointError.

    Its size is right afterwards; its content is yet to be checked. advance is told of bytes that
    came, or (negative) of bytes that have to come again.
    """
    if file.size_bytes > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise CheckpointError(
            f"{file.name} of {repository} is larger than the hub gives over HTTP; fetch it with "
            "huggingface_hub's own program: hf download"
        )
    with in_words(repository, commit):
        while (had_bytes := _size_of(partial)) != file.size_bytes:
            if had_bytes > file.size_bytes:
                partial.unlink()
                continue
            try:
                with partial.open("ab") as stream:
                    http_get(
                        hf_hub_url(repository, file.name, revision=commit),
                        cast(BinaryIO, _Sink(stream, file, advance)),
                        resume_size=had_bytes,
                        headers=build_hf_headers(
                            token=_token(),
                            library_name="asrbench",
                            library_version=orchestrator.__version__,
                            headers={
                                "Accept-Encoding": "identity"
                            },  # else no part can be asked for
                        ),
                        expected_size=file.size_bytes,
                    )
            except HfHubHTTPError as error:
                if error.response.status_code != 416 or had_bytes == 0:
                    raise
                partial.unlink()  # not a part of this file
                advance(-had_bytes)
            except httpx2.TransportError:
                if _size_of(partial) <= had_bytes:  # it has tried again for some seconds
                    raise
        partial.touch()  # the file may be empty


def links_wanted() -> bool:
    """Whether the user lets the cache use symbolic links."""
    return not constants.HF_HUB_DISABLE_SYMLINKS


def delete_cached(cache: Path, repository: str, commit: str, names: set[str] | None) -> int:
    """Delete these files (None: all) of a revision; returns the bytes that this freed.

    What another revision shares stays. Raises CheckpointError.
    """
    try:
        found = scan_cache_dir(cache)
    except CacheNotFound:
        return 0
    own = [repo for repo in found.repos if (repo.repo_type, repo.repo_id) == ("model", repository)]
    revisions = [one for repo in own for one in repo.revisions if one.commit_hash == commit]
    doomed = [
        file
        for one in revisions
        for file in one.files
        if names is None or file.file_path.relative_to(one.snapshot_path).as_posix() in names
    ]
    if names is None:  # a copy of the repository may have the same commit
        of_it = replace(found, repos=frozenset(own))
        strategy = of_it.delete_revisions(*(one.commit_hash for one in revisions))
    else:
        strategy = found.delete_files(*doomed)
    try:
        strategy.execute()
    except OSError as error:
        raise CheckpointError(f"cannot delete {error.filename}: {error.strerror}") from error
    for file in doomed:  # it only logs what it could not delete
        if file.file_path.exists():
            raise CheckpointError(f"cannot delete {file.file_path}: check whose it is")
    return strategy.expected_freed_size


class _Sink:
    """A file that counts what is written, and takes no more than was announced."""

    def __init__(self, stream: BinaryIO, file: FileRecord, advance: Callable[[int], None]) -> None:
        self._stream, self._file, self._advance = stream, file, advance

    def write(self, data: bytes) -> int:
        if self._stream.tell() + len(data) > self._file.size_bytes:
            raise CheckpointError(
                f"{self._file.name}: the hub sends more than the {self._file.size_bytes} bytes "
                "that it announced; try again later"
            )
        self._advance(len(data))
        return self._stream.write(data)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def truncate(self) -> int:
        self._stream.flush()
        before = _size_of(Path(self._stream.name))
        after = self._stream.truncate()
        self._advance(after - before)
        return after


def _token() -> str | bool:
    """The one to send; False for none. Raises UsageError if it cannot be one."""
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError("HF_TOKEN holds characters that no token has: copy it again")
    return token or False


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
