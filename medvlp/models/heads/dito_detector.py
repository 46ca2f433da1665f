"""An open-vocabulary detector: what a trained box head and the frozen tower say of a box, multiplied; DITO, F-VLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.protocols import Head
from medvlp.core.registry import FromModel
from medvlp.models.bank import Bank
from medvlp.models.heads._regions import map_of, within
from medvlp.models.heads.box_head import BoxHead
from medvlp.models.heads.text_classifier import TextsOf

_VLM_TEMPERATURE = 0.01


class DitoDetector(Head):
    r"""Boxes of a head like `box_queries` and K texts -> classes of the boxes, of which some were never drawn.

    With r a box's vector by a box head over the tokens, v the mean of the tokens' projections within the box, t_k the
    texts' embeddings, and a learnt vector b for the background::

        p_det = softmax over texts and b of cos(r, .) / (0.1 s)        s learnt, at first 1
        p_vlm = softmax over texts of cos(v, t) / 0.01
        p_k   = p_det,k^(1 - a_k) p_vlm,k^a_k, p_b = p_det,b, divided by their sum;    then p_k o^power

    where a_k is `base` for classes that boxes taught and `novel` for the others, and o the probability that the box
    holds anything. Mounted as ``image/NAME`` it gives ``NAME`` (R, Q, 4), the boxes; ``NAME_logits`` (R, Q, K + 1),
    logarithms of p and, last, of none of them, for the answer `boxes`; and ``NAME_scores`` (R, Q, K + 1), the logits of
    p_det, which are taught.

    Args:
        bank: a text for each class, with the text tower's embeddings; taught classes first.
        classes: K.
        taught: how many were.
        proposals: name of the head of boxes.
        local: part of the tokens in the space of texts.
        base: a of taught classes.
        novel: a of others.
        power: of o.
        scales: levels of the box head, which are averaged.
        hidden: of the box head.

    Raises:
        ConfigError: for a bank that is missing or has another number of texts, or tokens that form no grid.

    References:
        Kim et al. 2024 (DITO); Kuo et al. 2023 (F-VLM), whose fusion it is. There the frozen scores are those of a copy
        of the pretrained tower; here of the tower itself, which must therefore be frozen while boxes are taught. Boxes
        come from queries, objectness from their "no object", and not from a region proposal network.

    Note:
        An objectness that was learnt on base findings is low where only a novel one lies.

    Example:
        >>> texts = {"texts_of": lambda bank, rows: torch.eye(2, 4), "banks": {"names": Bank("names", ("a", "b"))}}
        >>> head = DitoDetector(token_width=8, embed_dim=4, bank="names", classes=2, taught=1, **texts)
        >>> given = {"boxes": torch.full((1, 3, 4), 0.5), "boxes_logits": torch.zeros(1, 3, 2)}
        >>> given |= {"local": torch.rand(1, 6, 4)}
        >>> rows = Encoded(owner=torch.arange(1), tokens=torch.rand(1, 6, 8), grid=(2, 3), extra=given)
        >>> [tuple(part.shape) for part in head(rows, "found").values()]
        [(1, 3, 4), (1, 3, 3), (1, 3, 3)]
    """

    gives = ("logits", "scores")

    def __init__(
        self,
        *,
        token_width: Annotated[int, FromModel("token_width")],
        embed_dim: Annotated[int, FromModel("embed_dim")],
        texts_of: Annotated[TextsOf, FromModel("texts_of")],
        banks: Annotated[Mapping[str, Bank], FromModel("banks")],
        bank: str,
        classes: Annotated[int, Field(ge=1)],
        taught: Annotated[int, Field(ge=1)],
        proposals: str = "boxes",
        local: str = "local",
        base: Annotated[float, Field(ge=0, le=1)] = 0.35,
        novel: Annotated[float, Field(ge=0, le=1)] = 0.65,
        power: Annotated[float, Field(ge=0)] = 3.0,
        scales: Sequence[float] = (1.0,),
        hidden: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        if bank not in banks:
            raise ConfigError(f"dito_detector reads the bank {bank!r}: {did_you_mean(bank, banks)}.")
        if len(banks[bank].texts) != classes or taught > classes:
            raise ConfigError(
                f"dito_detector has {classes} classes, {taught} of them taught, and the bank {bank!r} "
                f"{len(banks[bank].texts)} texts: give each class one text, taught ones first."
            )
        self.banks, self.reads = (bank,), (proposals, f"{proposals}_logits", "tokens", local)
        self._texts_of = texts_of
        self.power = power
        self.head = BoxHead(token_width=token_width, embed_dim=embed_dim, scales=scales, hidden=hidden)
        self.background = nn.Parameter(torch.randn(embed_dim))
        self.scale = nn.Parameter(torch.ones(1))
        weights = torch.full((classes,), novel)
        weights[:taught] = base
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, encoded: Encoded, name: str) -> Mapping[str, Tensor]:
        """Return boxes, logarithms of fused probabilities, and the detector's logits."""
        from torchvision.ops import box_convert

        boxes, objects, tokens, local = (encoded.part(part) for part in self.reads)
        if encoded.grid is None or len(encoded.grid) != 2:
            raise ConfigError("Head 'dito_detector' needs the image tokens in a grid, and these have none.")
        texts = unit(self._texts_of(self.banks[0], encoded))
        rows, queries = boxes.shape[:2]
        corners = box_convert(boxes.detach().flatten(0, 1), "cxcywh", "xyxy").clamp(0, 1)
        row = torch.arange(rows, device=boxes.device).repeat_interleave(queries)
        read = self.head.forward_boxes(map_of(tokens, encoded.grid), corners, row).mean(dim=0)
        frozen = within(map_of(local, encoded.grid), corners, row).flatten(1)
        own, vlm = (unit(each).unflatten(0, (rows, queries)) for each in (read, frozen))
        texts = texts if texts.dim() == 3 else texts.expand(rows, -1, -1)
        words = torch.cat([texts, unit(self.background).expand(rows, 1, -1).to(texts)], dim=1)
        scores = own.to(words) @ words.transpose(1, 2) / (0.1 * self.scale)
        near = vlm.to(texts) @ texts.transpose(1, 2) / _VLM_TEMPERATURE
        fused = ensemble(scores.softmax(2), near.softmax(2), self.weights.to(near))
        found = fused[..., :-1] * (1 - objects.softmax(2)[..., -1:]) ** self.power
        every = torch.cat([found, 1 - found.sum(2, keepdim=True)], dim=2)
        return {name: boxes, f"{name}_logits": every.clamp(min=1e-12).log(), f"{name}_scores": scores}


def ensemble(detector: Tensor, vlm: Tensor, weights: Tensor) -> Tensor:
    """Return the geometric mean (..., K + 1) of probabilities (..., K + 1) and (..., K), the last the detector's own.

    Example:
        >>> one, other = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.9])
        >>> ensemble(one, other, torch.zeros(2)).tolist() == one.tolist()
        True
    """
    found = detector[..., :-1] ** (1 - weights) * vlm**weights
    every = torch.cat([found, detector[..., -1:]], dim=-1)
    return every / every.sum(dim=-1, keepdim=True)
