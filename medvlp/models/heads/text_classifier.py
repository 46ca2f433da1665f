"""A classifier whose weights are texts: each class is one of a bank, as the text tower encodes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field
from torch import Tensor

from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.scale import LogitScale

# (name of a bank, R pictures) -> (K, D) unit embeddings of its texts, or (R, K, D) of each picture its own
TextsOf = Callable[[str, Encoded], Tensor]


class TextClassifier(Head):
    r"""z_k = s v . t_k, or with `against` z_k = s (v . t_k - v . n_k): zero-shot logits (R, K) as a head.

    v is the embedding of a picture, t_k that of the bank's k-th text, n_k that of the k-th text of a second bank ("no
    effusion" to "effusion"), s the model's logit scale, whose bias is added where there is no second text. The
    first form is for classes that exclude each other, the second for findings that occur together.

    Texts are encoded with the patches that act on the bank; those that are others for each picture (`cocoop`, `ctp`)
    cost R times the texts. Without patches it may be tuned as a linear layer that starts as the zero-shot classifier
    (Wortsman et al. 2022). Mounted as ``image/NAME`` it also gives ``NAME_texts`` (R, K, D), the embeddings t.

    Args:
        classes: K, told by the objective.
        bank: of the classes, in the order of the objective's labels.
        against: bank of what each is compared with.
        labels: the objective's; the names of a bank that is a book must be these.

    Raises:
        ConfigError: if a bank is missing, has another number of texts, vectors of another width, or other names.

    Example:
        >>> import torch
        >>> books = {"findings": Bank("findings", ("effusion", "nodule"))}
        >>> scale = LogitScale(init=10.0)
        >>> given = {"texts_of": lambda bank, rows: torch.eye(2), "scale": scale, "books": books, "embed_dim": 2}
        >>> head = TextClassifier(classes=2, bank="findings", **given)
        >>> rows = Encoded(owner=torch.arange(1), extra={"raw": torch.tensor([[3.0, 4.0]])})
        >>> [round(z, 3) for z in head(rows, "findings")["findings"][0].tolist()]
        [6.0, 8.0]
    """

    reads = ("embedding",)
    gives = ("texts",)

    def __init__(
        self,
        *,
        texts_of: Annotated[TextsOf, FromModel("texts_of")],
        scale: Annotated[LogitScale, FromModel("scale")],
        books: Annotated[Mapping[str, Bank], FromModel("banks")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        classes: Annotated[int, Field(ge=1)],
        bank: str,
        against: str | None = None,
        labels: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.banks = (bank,) if against is None else (bank, against)
        for name in self.banks:
            if name not in books:
                raise ConfigError(
                    f"text_classifier reads the bank {name!r}, which is not under banks: {did_you_mean(name, books)}."
                )
            if len(books[name].texts) != classes:
                raise ConfigError(
                    f"text_classifier has {classes} labels and the bank {name!r} {len(books[name].texts)} texts: give "
                    "each label one text, in the order of the labels."
                )
            vectors = books[name].vectors
            if vectors is not None and vectors.shape[1] != embed_dim:
                raise ConfigError(
                    f"text_classifier compares embeddings of width {embed_dim}, and the vectors of the bank {name!r} "
                    f"have {vectors.shape[1]}: give banks.{name}.encoder that width, or none."
                )
            if labels and books[name].names and list(books[name].names) != labels:
                raise ConfigError(
                    f"The bank {name!r} of text_classifier names {', '.join(books[name].names)}, and the labels are "
                    f"{', '.join(labels)}: name the same in the same order."
                )
        self.width = classes
        self._texts_of = texts_of
        self._scale = (scale,)  # the model's own: a tuple hides it from this module's state dict

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return {name: (R, K), name_texts: (R, K, D)}."""
        texts = [self._words(self._texts_of(bank, encoded), encoded) for bank in self.banks]
        picture = self._picture(encoded.part("embedding"), texts[0])
        near = [_cosines(picture, each) for each in texts]
        scale = self._scale[0]
        logits = scale(near[0]) if len(near) == 1 else scale.value * (near[0] - near[1])
        return {name: logits, f"{name}_texts": texts[0].expand(len(picture), -1, -1)}

    def _words(self, texts: Tensor, encoded: Encoded) -> Tensor:
        """Return what is compared of the texts, (K, D) or (R, K, D)."""
        return texts

    def _picture(self, embedding: Tensor, texts: Tensor) -> Tensor:
        """Return what is compared of a picture, (R, D)."""
        return embedding


def _cosines(picture: Tensor, texts: Tensor) -> Tensor:
    """Return (R, K) of (R, D) and (K, D) or (R, K, D)."""
    if texts.dim() == 2:
        return picture @ texts.T
    return (texts @ picture[:, :, None])[..., 0]
