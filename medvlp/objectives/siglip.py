"""SigLIP (Zhai et al. 2023): each image-report pair is a yes-or-no question of its own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.core.registry import FromModel
from medvlp.core.term import Term, Terms
from medvlp.models.scale import LogitScale
from medvlp.objectives._compared import Compared
from medvlp.objectives._ring import by_ring
from medvlp.objectives._sigmoid_contrast import sigmoid_contrast
from medvlp.objectives._similarity import Similarity
from medvlp.objectives._targets import Exclusion, Relation
from medvlp.objectives._tiles import by_tiles


class Siglip(Compared):
    """Sum over all pairs of -log sigmoid(y (s f(v, t) + b)), divided by the number of image rows.

    Own image rows meet everybody's texts, so each pair is asked once over all processes. The model needs a logit scale
    with a bias that starts low (the paper: scale 10, bias -10), or the first steps are spent learning that most pairs
    do not match.

    Args:
        image, text, positives: as in `clip`.
        score: component of `models/scores`, with options or by its name alone, evaluated from image to text.
        exclude: which of the others are not asked about, because they are probably no negatives.
        ring: pass the texts of other processes round between neighbours rather than gather them all: a process holds
            the rows of two, and of the scores one block. It saves nothing where another objective gathers the texts.
        model: given by the builder; its logit scale must have a bias.

    Returns:
        ``pairs``.

    Raises:
        ConfigError: if the model's logit scale has no bias, or a ring is asked of a score that reads more of a row than
            its embedding.

    Example:
        >>> import torch
        >>> rows = {"image/embedding": torch.eye(2), "text/embedding": torch.eye(2)}
        >>> terms = Siglip()(Context.of(rows, {"text": ["clear", "effusion"]}))
        >>> round(terms["pairs"].value().item(), 4)  # log(1 + 1/e) + log 2
        1.0064
    """

    two_way = False

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        score: str | dict[str, Any] = "dot",
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        ring: bool = False,
        model: Annotated[Model | None, FromModel("model")] = None,
    ) -> None:
        super().__init__(objective="siglip", image=image, text=text, score=score, positives=positives, exclude=exclude)
        if model is not None and isinstance(model.scale, LogitScale) and model.scale.bias is None:
            raise ConfigError(
                "Objective 'siglip' needs a logit scale with a bias, which starts low because nearly all pairs do not "
                "match: write model.scale: {init: 10.0, bias: -10.0}."
            )
        if ring and self.score.reads != ("embedding",):
            raise ConfigError(
                f"Objective 'siglip' passes embeddings round, and the score {self.score_spec['name']!r} reads "
                f"{', '.join(self.score.reads)}: leave ring out, or use the score dot."
            )
        self.ring = ring

    def forward(self, ctx: Context) -> Terms:
        """Return the term of all pairs."""
        if self.ring and collectives.world_size() > 1:
            return {"pairs": self._passed_round(ctx)}
        return {"pairs": self.summed(ctx, self.image, self.text, sigmoid_contrast)}

    def _passed_round(self, ctx: Context) -> Term:
        """Return the same term, one process's texts at a time."""
        images, texts = (ctx[f"{view}/embedding"] for view in (self.image, self.text))
        counts = ctx.index.counts(f"{self.text}/embedding")
        single = self._single(ctx, self.image, self.text)
        pairs = self._pairs(ctx, self.image, self.text) if single is None else None

        def block(rows: Tensor, columns: Tensor, source: int) -> Tensor:
            start = sum(counts[:source])
            there = slice(start, start + counts[source])

            def term(scores: Tensor, part: slice) -> Term:
                if pairs is not None:
                    exclude = None if pairs.exclude is None else pairs.exclude[part, there]
                    return sigmoid_contrast(scores, pairs.target[part, there], exclude=exclude)
                assert single is not None
                own = single[part] - start
                return sigmoid_contrast(scores, torch.where(own < counts[source], own, -1))

            return by_tiles(Similarity(rows, columns, self.score, ctx.scale), term).sum

        learned = [parameter for module in (self.score, ctx.scale) for parameter in module.parameters()]
        count = images.new_full((), len(images) if sum(counts) else 0)
        if pairs is not None and pairs.exclude is not None:
            count = (~pairs.exclude).any(dim=1).sum().to(images.dtype)
        return Term(by_ring(block, images, texts, counts, learned), count)
