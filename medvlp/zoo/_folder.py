"""Folders of the Hugging Face hub's form: here, in its local cache, or fetched because the user named a hub name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.core.errors import DataError, UserError
from medvlp.core.files import read_json
from medvlp.text.tokenizers import TransformersTokenizer

# Weights, words, and what is fetched beside either: settings and the card, never code.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_WORDS, _BESIDE = ("tokenizer.json", "vocab.*", "*.model"), ("README.md", "*.json", "*.txt", "*.model")
_FILES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def folder_at(source: Path, *, needed: Sequence[str] = _WEIGHTS) -> Path:
    """Return the folder that a source is, or that a hub name stands for; of `needed` a cached one has some file.

    Raises:
        UserError: if it is neither a folder nor a hub name whose files are here or can be fetched.
    """
    if source.is_dir():
        return source
    name = source.as_posix()
    if source.suffix in _FILES and not source.exists():
        raise UserError(f"{source} does not exist: check the path.")
    if source.exists() or not _HUB.fullmatch(name):
        raise UserError(f"{source} is no folder: give the folder with config.json and the weights, or a hub name.")
    from huggingface_hub import snapshot_download

    reason = ""
    for local, files in ((True, ["*config.json"]), (False, [*_BESIDE, *needed])):
        try:
            place = Path(snapshot_download(name, allow_patterns=files, local_files_only=local))
        except Exception as error:  # whatever the hub's client raises when offline means the same to the user
            reason = type(error).__name__
            continue
        if not local or any(True for each in needed for _ in place.glob(each)):
            return place
    raise UserError(
        f"{name} is neither a folder here, nor in the local cache, nor could it be fetched ({reason}): give a folder, "
        "or fetch it once on a machine with network (and, for a gated model, with your own access)."
    )


def settings_in(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Return a JSON file of a folder.

    Raises:
        UserError: if it is not there or no JSON object.
    """
    if not (folder / name).is_file():
        raise UserError(f"{folder} has no {name}, which says what the weights are: give the whole folder.")
    found = read_json(folder / name)
    if not isinstance(found, Mapping):
        raise UserError(f"{folder / name} holds no JSON object: get the folder again.")
    return dict(found)


def weights_in(folder: Path, *names: str) -> Path:
    """Return the first of some files that a folder has.

    Raises:
        UserError: if it has none of them.
    """
    names = names or _WEIGHTS[:2]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    parted = " (weights in several parts are not read: save them as one file)" if any(folder.glob("*index*")) else ""
    raise UserError(f"{folder} has none of {', '.join(names)}{parted}.")


def tokenizer_in(folder: Path, *, length: int, vocabulary: int) -> TransformersTokenizer:
    """Return the tokenizer of a folder, or of a hub name, of which words alone are fetched.

    Raises:
        UserError: as `folder_at`.
        DataError: if it knows more words than the text tower has vectors, or pads texts in front.
    """
    words = TransformersTokenizer(folder_at(folder, needed=_WORDS), max_length=length)
    if words.vocab_size > vocabulary:
        raise DataError(
            f"The tokenizer in {folder} has {words.vocab_size} ids and the weights {vocabulary}: give the folder with "
            "the tokenizer that the model was trained with."
        )
    if words.pads_in_front:
        raise DataError(
            f"The tokenizer in {folder} pads texts in front (padding_side: left), which moves their words to other "
            "places: only texts that are padded behind are read here."
        )
    return words


def tokenizer_beside(given: str | None, *, title: str, hub: str, length: int, vocabulary: int) -> TransformersTokenizer:
    """Return the tokenizer that a checkpoint does not bring, from a folder or hub name that the user gave.

    Raises:
        UserError: if none was given.
        DataError: as `tokenizer_in`.
    """
    if given is None:
        raise UserError(
            f"A checkpoint of {title} brings no tokenizer: give tokenizer=FOLDER with that of "
            f"{hub.rpartition('/')[2]}, or its hub name, {hub}."
        )
    return tokenizer_in(Path(given), length=length, vocabulary=vocabulary)
