"""What goes wrong with a hub, the network or the disk, in words; no text of the hub is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2

from orchestrator.errors import CheckpointError, UsageError

try:  # it reads its variables while it is imported
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
except ValueError as error:
    raise UsageError(f"a variable HF_… of this environment is wrong: {error}") from error


@contextlib.contextmanager
def in_words(repository: str, revision: str) -> Iterator[None]:
    """Raises CheckpointError for whatever goes wrong with the hub, the network or the disk."""
    hub = _hub()
    try:
        yield
    except HfHubHTTPError as error:
        raise CheckpointError(_refusal(error, hub, repository, revision)) from error
    except (OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise CheckpointError(_unreachable(error, hub, repository)) from error
    except HFValidationError as error:
        raise CheckpointError(f"{repository} is no name of a repository: {error}") from error
    except OSError as error:
        if error.errno is None:  # the library's own
            raise CheckpointError(_rubbish(hub, repository)) from error
        raise CheckpointError(disk_words(error)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise CheckpointError(_rubbish(hub, repository)) from error
    except (TypeError, KeyError, AttributeError, RecursionError) as error:  # JSON of another shape
        raise CheckpointError(_rubbish(hub, repository)) from error


def disk_words(error: OSError) -> str:
    """What to do when the cache's disk does not take or give a file."""
    where = f" ({error.filename})" if error.filename else ""
    return (
        f"cannot use the hub cache: {error.strerror}{where}; make room or mend the folder, or "
        "choose another by HF_HUB_CACHE=DIR"
    )


def _refusal(error: HfHubHTTPError, hub: str, repository: str, revision: str) -> str:
    """What an answer with an error status means for a person."""
    token = (
        f"make a token that may read it ({hub}/settings/tokens) and set it: HF_TOKEN=… in the "
        "environment"
    )
    accept = f"accept its terms at {hub}/{repository}"
    match error:
        case GatedRepoError():
            if get_token():
                return (
                    f"{repository} is gated, and your token has no access to it: {accept} with the "
                    "account of the token (some wait for an approval), or check that the token may "
                    "read gated repositories"
                )
            return f"{repository} is gated: {accept}, then {token}"
        case RepositoryNotFoundError():
            return (
                f"{hub} has no repository {repository}, or it is private: check the checkpoint in "
                f"the stack's pyproject.toml; for a private one {token}"
            )
        case RevisionNotFoundError():
            return (
                f"{repository} has no revision {revision}: check it in the stack's pyproject.toml"
            )
        case EntryNotFoundError():
            return f"{repository} lacks a file that it announced; try again later"
    status = error.response.status_code
    if status == 401:
        return f"{hub} does not accept your token: {token}, or unset HF_TOKEN"
    if status == 403:
        return f"{hub} forbids {repository}: {accept}, or {token}"
    if status == 429:
        return f"{hub} has had too many requests from here: wait some minutes, or {token}"
    return (
        f"{hub} answered {status} for {repository}; try again later (what was fetched is kept), or "
        "choose another hub by HF_ENDPOINT"
    )


def _unreachable(error: Exception, hub: str, repository: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return (
            f"{repository} cannot be fetched: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set; "
            "unset it, or copy the checkpoint from elsewhere and name it by --checkpoint MODEL=PATH"
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return (
            f"cannot reach {hub} ({type(error).__name__}): check the network, HTTPS_PROXY and "
            "HF_ENDPOINT, then run the same command again"
        )
    return (
        f"the connection to {hub} was lost ({type(error).__name__}); what was fetched of "
        f"{repository} is kept: run the same command again"
    )


def _rubbish(hub: str, repository: str) -> str:
    return (
        f"{hub} sent something for {repository} that no hub should: nothing of it was used; check "
        "HF_ENDPOINT and proxies, or try again later"
    )


def _hub() -> str:
    """The hub's address without what must not be shown. Raises UsageError if it is none."""
    try:
        parts = urlsplit(constants.ENDPOINT)
        if parts.scheme in ("http", "https") and parts.hostname:
            port = f":{parts.port}" if parts.port else ""
            return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
    except ValueError:
        pass
    raise UsageError("HF_ENDPOINT is no address of a hub: expected https://HOST")
