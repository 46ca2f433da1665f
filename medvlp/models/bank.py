"""Banks: ordered texts that belong to no sample (classes, query books, vocabularies)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.core.registry import build
from medvlp.models.text_vectors import TextVectors


@dataclass(frozen=True, eq=False)
class Bank:
    """Ordered texts, the same on every process.

    Attributes:
        name: ``findings`` is asked for as ``bank.findings/embedding``.
        texts: C distinct texts.
        vectors: (C, D) constant embeddings by a frozen encoder; None: the model's text tower encodes the texts.
        encoder: who made `vectors`: a name and hash for the bundle; ``text`` is the model's text tower.
        names: C short distinct names of the texts, where they have some: the words of a book and their definitions.

    Raises:
        DataError: if there is no text, a text or name stands twice, or vectors, names and texts differ in number.

    Example:
        >>> Bank("findings", ("effusion", "nodule")).sha256[:8]
        '8e19c270'
    """

    name: str
    texts: tuple[str, ...]
    vectors: Tensor | None = None
    encoder: str = "text"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.texts:
            raise DataError(f"Bank {self.name!r} has no text: give it one entry a line.")
        if len(set(self.texts)) < len(self.texts):
            twice = next(text for i, text in enumerate(self.texts) if text in self.texts[:i])
            raise DataError(f"Bank {self.name!r} has the entry {twice!r} twice: keep it once.")
        if self.vectors is not None and (self.vectors.dim() != 2 or len(self.vectors) != len(self.texts)):
            raise DataError(
                f"Bank {self.name!r} has {len(self.texts)} texts and vectors of shape {tuple(self.vectors.shape)}: "
                f"give one row a text."
            )
        if self.names and (len(self.names) != len(self.texts) or len(set(self.names)) < len(self.names)):
            raise DataError(
                f"Bank {self.name!r} has {len(self.texts)} texts and {len(set(self.names))} different names: give each "
                f"text a name of its own, or none a name."
            )

    @property
    def sha256(self) -> str:
        """Hash of the texts in their order."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()

    def with_vectors(self, vectors: Tensor, *, encoder: str) -> Bank:
        """Return the bank with constant embeddings, encoded once a run."""
        return replace(self, vectors=vectors.detach(), encoder=encoder)


def read_bank(path: str | Path, *, name: str) -> Bank:
    """Read a bank from a UTF-8 file: one entry a line, but blank and ``#`` lines, or YAML with ``texts: {name:
    sentence}``.

    Raises:
        DataError: if the file cannot be read, is empty, or has an entry twice.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
        document = yaml.safe_load(content) if path.suffix in (".yaml", ".yml") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"The file {path} of bank {name!r} cannot be read ({reason}): give a UTF-8 text file with one entry a "
            f"line, or a YAML file with texts: {{name: sentence}}."
        ) from None
    if path.suffix not in (".yaml", ".yml"):
        lines = (line.strip() for line in content.splitlines())
        return Bank(name, tuple(line for line in lines if line and not line.startswith("#")))
    texts = document.get("texts") if isinstance(document, Mapping) else None
    if not isinstance(texts, Mapping) or not all(isinstance(w, str) for pair in texts.items() for w in pair):
        raise DataError(f"The file {path} of bank {name!r} has no texts: {{name: sentence}}: write them so, in quotes.")
    return Bank(name, tuple(texts.values()), names=tuple(texts))


def encoded_bank(bank: Bank, spec: Mapping[str, object], *, where: str) -> Bank:
    """Return the bank with the constant vectors of a component of `medvlp.models.text_vectors`.

    Example:
        >>> bank = encoded_bank(Bank("b", ("a cat", "a dog")), {"name": "hashed_words", "width": 8}, where="banks.b")
        >>> bank.vectors.shape, bank.encoder
        (torch.Size([2, 8]), 'hashed_words width=8 seed=0')
    """
    made: TextVectors = build("models/text_vectors", spec, where=where, given={"texts": bank.texts})
    return bank.with_vectors(made.vectors, encoder=made.encoder)
