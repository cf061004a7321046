"""Networks at the Hugging Face hub, by name: huggingface_hub, an extra, does the work and knows the user's token."""

import contextlib
import os
import pathlib
import re
from typing import Any

SCHEME = "hf://"  # Of names at the hub: hf://OWNER/NAME.
WEIGHTS, CARD = "model.safetensors", "README.md"


def name_of(address: str) -> str:
    """Returns the name in an address hf://OWNER/NAME.

    Raises:
        ValueError: it is no such address.
    """
    match = re.fullmatch(r"hf://([^/]+/[^/]+)", address)
    if match is None:
        raise ValueError(f"{address} is no name at the Hugging Face hub; give hf://OWNER/NAME.")
    return match[1]


def upload(folder: str | os.PathLike, name: str) -> str:
    """Uploads a folder's weights and model card, and nothing else; returns the address of its page.

    A model of that name that is the user's own gets a new version; otherwise it is made, for everyone to see.

    Args:
        folder: folder with model.safetensors, by Network.save, and README.md, by weights.card.
        name: name at the hub, such as "someone/faces".

    Raises:
        ModuleNotFoundError: huggingface_hub is missing.
        ValueError: a file is missing, or the hub refuses the name.
    """
    hub = _hub()
    folder = pathlib.Path(folder).expanduser()
    for file in (WEIGHTS, CARD):
        if not (folder / file).is_file():
            raise ValueError(
                f"{folder} has no {file}; an upload is {WEIGHTS} (Network.save) and {CARD} (weights.card)."
            )
    api = hub.HfApi(library_name="stylegan_jax")
    address = api.create_repo(name, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=folder, allow_patterns=[WEIGHTS, CARD], commit_message="Upload weights")
    return str(address)


def download(name: str, revision: str | None = None) -> pathlib.Path:
    """Returns the path of a network from the hub, for `load`; it is downloaded once, and again when it changes.

    Only model.safetensors and README.md are downloaded, whatever else is there: neither can hold code that runs.

    Args:
        name: name at the hub, such as "someone/faces".
        revision: branch, tag or commit; None: the newest.

    Raises:
        ModuleNotFoundError: huggingface_hub is missing.
        ValueError: there is no such network.
    """
    hub = _hub()
    how = {"repo_id": name, "revision": revision, "library_name": "stylegan_jax"}
    try:
        path = hub.hf_hub_download(filename=WEIGHTS, **how)
        with contextlib.suppress(hub.errors.EntryNotFoundError):
            hub.hf_hub_download(filename=CARD, **how)
    except hub.errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"the hub has no model {name}, or it is private; for one of your own, log in with `hf auth login`."
        ) from error
    except hub.errors.RevisionNotFoundError as error:
        raise ValueError(f"the hub has {name}, but no revision {revision!r} of it.") from error
    except hub.errors.RemoteEntryNotFoundError as error:
        raise ValueError(
            f"{name} has no {WEIGHTS}, the one file of weights that is downloaded. For another layout, download the "
            "file yourself and load its path."
        ) from error
    return pathlib.Path(path)


def _hub() -> Any:
    """Returns the package huggingface_hub."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the Hugging Face hub needs huggingface_hub: pip install huggingface_hub") from error
    return huggingface_hub
