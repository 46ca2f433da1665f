"""Banks: ordered texts that belong to no sample (classes, query books, vocabularies)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from medvlp.core.errors import DataError

__all__ = ["Bank", "read_bank"]


@dataclass(frozen=True, eq=False)
class Bank:
    """Ordered texts, the same on every process.

    Attributes:
        name: ``findings`` is asked for as ``bank.findings/embedding``.
        texts: C distinct texts.
        vectors: (C, D) constant embeddings by a frozen encoder; None: the model's text tower encodes the texts whenever
            they are asked for.
        encoder: who made `vectors`: a name and hash for the bundle; ``text`` is the model's text tower.

    Raises:
        DataError: if there is no text, a text stands twice, or vectors and texts differ in number.

    Example:
        >>> Bank("findings", ("effusion", "nodule")).sha256[:8]
        '8e19c270'
    """

    name: str
    texts: tuple[str, ...]
    vectors: Tensor | None = None
    encoder: str = "text"

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

    @property
    def sha256(self) -> str:
        """Hash of the texts in their order."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()

    def with_vectors(self, vectors: Tensor, *, encoder: str) -> Bank:
        """Return the bank with constant embeddings, so that it is encoded once a run and not once a step."""
        return replace(self, vectors=vectors.detach(), encoder=encoder)


def read_bank(path: str | Path, *, name: str) -> Bank:
    """Read a bank from a UTF-8 text file with one entry a line; blank and ``#`` lines are left out.

    Raises:
        DataError: if the file cannot be read, is empty, or has an entry twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The file {path} of bank {name!r} cannot be read ({error}): give a UTF-8 text file with one entry a line."
        ) from None
    return Bank(name, tuple(_entries(lines)))


def _entries(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        words = line.strip()
        if words and not words.startswith("#"):
            yield words
