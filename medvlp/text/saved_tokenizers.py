"""Tokenizers from the folders that they were saved in, of whatever kind."""

from __future__ import annotations

from pathlib import Path

from medvlp.core.errors import DataError
from medvlp.core.files import plain_yaml
from medvlp.text.tokenizers import CARD, Tokenizer, TransformersTokenizer
from medvlp.text.wordpiece import read_wordpiece


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Return the tokenizer that was saved in a folder.

    Raises:
        DataError: if the folder holds no readable ``tokenizer.yaml`` or names an unknown kind.

    Example:
        >>> import tempfile
        >>> from medvlp.text import train_wordpiece
        >>> folder = tempfile.mkdtemp()
        >>> train_wordpiece(["no pleural effusion"] * 2, vocab_size=64, max_length=16).save(folder)
        >>> tokenizer = load_tokenizer(folder)
        >>> tokenizer.name, tokenizer(["effusion"]).mask.sum().item()
        ('clinical_wordpiece', 3)
    """
    path = Path(folder) / CARD
    card = plain_yaml(path, mend="save the tokenizer again")
    name, length = (card.get("name"), card.get("max_length")) if isinstance(card, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(length, int):
        raise DataError(f"{path} lacks name or max_length: save the tokenizer again with its save method.")
    if name == TransformersTokenizer.name:
        return TransformersTokenizer(folder, max_length=length)
    if name == "clinical_wordpiece":
        return read_wordpiece(folder, max_length=length)
    raise DataError(
        f"{path} names the tokenizer {name!r}, but this version knows clinical_wordpiece and transformers: "
        f"install the version of medvlp that wrote it."
    )
