"""Masked words (BERT, Devlin et al. 2019), filled in with the picture's help: the third term of LightCLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.encoded import promoted
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.models.heads.word_filler import WordFiller
from medvlp.objectives._rows import first_of


class MaskedWords(Objective):
    r"""Cross entropy of the words that the patch `mask_words` hid from the text tower.

    L = - sum over hidden tokens l of log p(w_l | the text with holes, v), over the number of hidden tokens of all
    processes and chunks. v is the embedding of the first picture of the text's sample, whole and with its gradient; it
    enters through a map that starts at zero (`word_filler`), so that the loss begins as plain masked language
    modelling, and stays that for a text without a picture. LightCLIP (Nie et al. 2023) lets the picture in at several
    depths of the tower; here it enters behind it. A phase with it has ``patches: [{name: mask_words, view:
    text.masked}]``.

    Args:
        text: view whose words are hidden, a copy of `source`.
        source: text field that it copies.
        image: view of the pictures; None: they take no part.
        head: name under which the output layers are mounted.

    Returns:
        ``hidden_word``.

    References:
        Devlin et al. 2019, section 3.1; Nie et al. 2023 (LightCLIP), masked language modelling.

    Note:
        A hidden "no" or "left" can often be told only from the picture; the text alone guesses the commoner word, which
        is not what a report may do, so leave the weight small.

    Example:
        >>> sorted(map(str, MaskedWords().needs()))
        ['image/embedding', 'text.masked/hidden', 'text.masked/ids', 'text.masked/mask', 'text.masked/tokens']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self, *, text: str = "text.masked", source: str = "text", image: str | None = "image", head: str = "filler"
    ) -> None:
        super().__init__()
        self.text = text
        self.source = source
        self.image = image
        self.head = head

    def needs(self) -> frozenset[Key]:
        """What the tower makes of the text with holes, where they are, and the picture."""
        read = keys(*(f"{self.text}/{part}" for part in ("tokens", "ids", "mask", "hidden")))
        return read if self.image is None else read | keys(f"{self.image}/embedding")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The output layers."""
        return {self.head: HeadSpec("word_filler", {"pictures": self.image is not None})}

    def data_views(self) -> Sequence[Mapping[str, object]]:
        """The copy of the text."""
        return ({"name": "copy_text", "field": self.source, "to": self.text},)

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        filler = cast("WordFiller", ctx.heads[self.head])
        ids = ctx[f"{self.text}/ids"]
        where = ctx[f"{self.text}/hidden"] & ctx[f"{self.text}/mask"] & filler.words(ids)
        row, _ = where.nonzero(as_tuple=True)
        pictures = None if self.image is None else self._pictures(ctx, f"{self.image}/embedding")[row]
        logits = filler.logits(ctx[f"{self.text}/tokens"][where], pictures)
        return {"hidden_word": Term.of(F.cross_entropy(promoted(logits), ids[where], reduction="none"))}

    def _pictures(self, ctx: Context, key: str) -> Tensor:
        """Return the embedding of each text's picture, (R, D); zeros where there is none."""
        at = first_of(ctx.owner(key), ctx.owner(f"{self.text}/ids"))
        image = ctx[key]
        return torch.cat([image, image.new_zeros(1, image.shape[1])])[at]
