"""What the hub's client raises, told in one paragraph: what happened to which data set, and what to do."""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator

from cmt_cli.core.exceptions import UserError

_RETRY = "What has arrived is kept: repeat the command later"
_ELSEWHERE = "or prepare the folder on a machine that has a connection and copy it here"


class HubError(UserError):
    """The hub has not what a stream needs of it, or does not give it: the files must come from elsewhere."""


@contextlib.contextmanager
def telling(dataset: str, revision: str) -> Iterator[None]:
    """Turn errors of the hub's client into HubErrors that name the data set; others travel on."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (OSError, _client_error(), HFValidationError, json.JSONDecodeError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        text = _told(cause, dataset, revision)
        if text is None:
            raise
        raise HubError(text) from error


def is_unreachable(error: BaseException) -> bool:
    """Return whether there was no answer of the hub at all: no network, or HF_HUB_OFFLINE."""
    from huggingface_hub.errors import HfHubHTTPError

    return isinstance(error, ConnectionError | TimeoutError) or (
        isinstance(error, _client_error()) and not isinstance(error, HfHubHTTPError)
    )


def _client_error() -> type[Exception]:
    """Return the base of all errors of the HTTP client that the hub's library is built on, httpx or its successor."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def _told(error: BaseException, dataset: str, revision: str) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{constants.ENDPOINT}/datasets/{dataset}"
    at = f"{dataset} at {revision[:12]}" if len(revision) == 40 else f"{dataset} ({revision})"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{at} is not in the hub's cache, and HF_HUB_OFFLINE is set. Unset it, {_ELSEWHERE}."
    if isinstance(error, GatedRepoError):
        return (
            f"{dataset} is gated: accept its terms at {page} with an account of the hub, then log in with "
            "`hf auth login` or set HF_TOKEN, and repeat the command."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{dataset} has no revision {revision}. Its commits are listed at {page}/commits/main."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"The hub has no data set {dataset}, or does not show it without a login ({page}). It may have been moved "
            "or removed."
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return f"A file of {at} is listed by the hub but is not there. {_RETRY}."
    if isinstance(error, HfHubHTTPError):
        return _status_told(error.response.status_code, at, page)
    if isinstance(error, HFValidationError):
        return f"{dataset} at {revision} cannot be looked up: {' '.join(str(error).split())}"
    if is_unreachable(error):
        return f"The hub ({constants.ENDPOINT}) cannot be reached for {at}. {_RETRY} with a connection, {_ELSEWHERE}."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"There is no room left for {at} in the hub's cache, {constants.HF_HUB_CACHE}. Make room there, or set "
            "HF_HOME to a folder on another disk."
        )
    if isinstance(error, FileMetadataError | json.JSONDecodeError):
        return f"What answered for {at} at {constants.ENDPOINT} is no hub. Check HF_ENDPOINT, and proxies on the way."
    if isinstance(error, OSError) and error.errno is None:  # the library's own, of a size that does not fit
        return f"The download of {at} was cut off. {_RETRY}."
    return None


def _status_told(status: int, at: str, page: str) -> str:
    """Return what an answer's status means."""
    if status in (401, 403):
        return (
            f"The hub does not give {at} to this account (status {status}). Log in with `hf auth login` or set "
            f"HF_TOKEN to a token that may read it, and look at {page}."
        )
    if status == 429:
        return f"The hub asks to wait: too many requests (status 429) for {at}. Repeat the command in some minutes."
    return f"The hub has a fault (status {status}) with {at}. {_RETRY}; https://status.huggingface.co tells of outages."
