"""A hub name is a folder of the cache where what is needed lies there; else it is fetched, and no more than that."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from medvlp.core.errors import UserError
from medvlp.zoo._folder import _WORDS, folder_at

NAME = Path("acme/clip")
HELD = ("README.md", "config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache into which another program fetched some files of a hub; it has the hub's own rule for what is asked."""
    place = tmp_path / "cache"
    place.mkdir()

    def hub(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        assert name == str(NAME)
        asked = [file for file in HELD if any(fnmatch(file, each) for each in allow_patterns)]
        for file in asked:
            if local_files_only and not (place / file).exists():
                raise FileNotFoundError(f"the cache lacks {file}")
            (place / file).touch()
        return str(place)

    monkeypatch.setattr("huggingface_hub.snapshot_download", hub)
    return place


def test_words_that_another_program_fetched_are_no_model(cache: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (cache / name).touch()
    assert folder_at(NAME, needed=_WORDS) == cache
    assert not (cache / "model.safetensors").exists(), "its words were there, and nothing was fetched"
    assert folder_at(NAME) == cache
    assert (cache / "model.safetensors").exists()


def test_weights_that_lie_there_are_enough_whatever_else_the_hub_has(cache: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (cache / name).touch()
    assert folder_at(NAME) == cache
    assert {path.name for path in cache.iterdir()} == {"config.json", "model.safetensors"}


def test_of_a_tokenizer_words_alone_are_fetched(cache: Path) -> None:
    assert folder_at(NAME, needed=_WORDS) == cache
    assert {path.name for path in cache.iterdir()} == {"README.md", "config.json", "tokenizer.json"}


def test_what_is_neither_there_nor_fetched_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        if local_files_only:
            return str(cache)
        raise ConnectionError(name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    (cache / "tokenizer.json").touch()
    with pytest.raises(UserError, match=r"acme/clip is neither a folder here, nor in the local cache, nor could it be"):
        folder_at(NAME)
