"""Finds the files of a checkpoint: a local folder, or a repository of the Hugging Face hub. Opens none of them.

Where downloads are kept (``HF_HOME``), being offline (``HF_HUB_OFFLINE``) and the token are huggingface_hub's own
affair; here its errors become messages that say what to do.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from stream_server.engine.device import require_gpu_extra

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
"""Of weights in several files: which tensor is in which."""

PATTERNS = ("README.md", "*.json", "*.txt", "*.model", WEIGHTS, "model-*.safetensors")
"""The model card, configuration, vocabulary and one copy of the weights: many hold these in other formats too."""

HUB_TIMEOUT_SEC = 10.0
"""After that long without an answer of the hub, what is in the cache has to do."""


class CheckpointError(Exception):
    """A checkpoint cannot be had or cannot be used; the message says why and what to do."""


def find_checkpoint(
    name: str, *, patterns: Sequence[str] = PATTERNS, missing: Callable[[Path], Sequence[str]] | None = None
) -> Path:
    """The folder of a checkpoint: ``name`` itself if it is one, else a hub repository, downloaded unless it is cached.

    Args:
        name: a folder, or a repository such as ``nvidia/nemotron-3.5-asr-streaming-0.6b``, with ``@revision`` behind it
            for one that is not the newest.
        patterns: what to download of the repository.
        missing: what a folder lacks of what is needed; `missing_files` by default.

    Raises:
        CheckpointError: there is no such thing, it lacks files, or it cannot be downloaded.
        DeviceError: the gpu extra, which downloads, is not installed.
    """
    folder = Path(name).expanduser() if is_folder(name) else _download(name, patterns)
    for file in (missing or missing_files)(folder):
        raise CheckpointError(f"{name} is no checkpoint that can be served: {folder} has no {file}")
    return folder


def is_folder(name: str) -> bool:
    """Whether a model is named by its folder. No name at all would be the current folder to Path."""
    try:
        return bool(name) and Path(name).expanduser().is_dir()
    except RuntimeError:  # the home of somebody who does not exist
        return False


def missing_files(folder: Path) -> list[str]:
    """What ``folder`` lacks of a configuration and complete weights in safetensors format."""
    missing = [] if (folder / CONFIG).is_file() else [CONFIG]
    if (folder / WEIGHTS).is_file():
        return missing
    if not (folder / WEIGHTS_INDEX).is_file():
        return [*missing, WEIGHTS]
    return [*missing, *(shard for shard in read_shards(folder) if not (folder / shard).is_file())]


def read_shards(folder: Path) -> list[str]:
    """The names of the weight files in ``folder``, in order. Raises CheckpointError if their index makes no sense."""
    index = folder / WEIGHTS_INDEX
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    try:
        shards = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} cannot be read: {type(error).__name__}: {error}") from error
    for shard in shards:
        # PureWindowsPath takes both slashes, and drives, for what they are.
        if not isinstance(shard, str) or PureWindowsPath(shard).name != shard:
            raise CheckpointError(f"{index} cannot be right: {shard!r} is not the name of a file beside it")
    return sorted(set(shards))


def _download(name: str, patterns: Sequence[str]) -> Path:
    require_gpu_extra("huggingface_hub")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = name.partition("@")
    elsewhere = f"download it on a machine that can (hf download {repository}) and give the folder instead of the name"
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=list(patterns),
                local_files_only=not _is_reachable(repository),
            )
        )
    except HFValidationError:
        raise CheckpointError(f"{name!r} is neither a folder nor the name of a hub repository (owner/name)") from None
    except GatedRepoError as error:
        raise CheckpointError(
            f"access to {repository} is restricted: accept its terms at https://huggingface.co/{repository}, "
            "then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no folder and no public hub repository {repository}; "
            "if it is private, log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repository} has no revision {revision or 'main'}") from error
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise CheckpointError(
                f"{repository} is not complete in the cache, and HF_HUB_OFFLINE forbids to download it: "
                f"unset it, or {elsewhere}"
            ) from error
        raise CheckpointError(
            f"{repository} is not complete in the cache, and the hub cannot be reached: {elsewhere}"
        ) from error
    except Exception as error:  # the HTTP client's own errors, which change with the version of huggingface_hub
        if _is_disk_full(error):
            raise CheckpointError(_no_space(repository, revision, patterns)) from error
        raise CheckpointError(
            f"{repository} cannot be downloaded ({type(error).__name__}: {error}): try again, or {elsewhere}"
        ) from error


def _is_reachable(repository: str) -> bool:
    """Whether the hub answers at all: snapshot_download would wait for it without end."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(repository, timeout=HUB_TIMEOUT_SEC)
    except (HfHubHTTPError, HFValidationError):
        return True  # and will say the same again, to whoever wants to know
    except Exception:  # offline mode, or the HTTP client's own errors
        return False
    return True


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _no_space(repository: str, revision: str, patterns: Sequence[str]) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    needed = ""
    with suppress(Exception):  # a failure to say how much must not hide what went wrong
        plan = snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns), dry_run=True)
        size = sum(file.file_size or 0 for file in plan if file.will_download)
        needed = f"{size / 1e9:.1f} GB are still to be downloaded, "
    free = shutil.disk_usage(HF_HUB_CACHE).free
    return (
        f"no space left for {repository} in {HF_HUB_CACHE}: {needed}{free / 1e9:.1f} GB are free; "
        "make room, or set HF_HOME to a larger disk"
    )
