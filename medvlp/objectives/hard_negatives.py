"""Hard negatives: an image tells its own text from false copies of it (DeGLA, Hu et al. 2025, image-grounded part)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from medvlp.core.context import Context
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective, Score
from medvlp.core.registry import build
from medvlp.core.term import Terms
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity


class HardNegatives(Objective):
    r"""Cross entropy of an image's own text against its own false copies, at the model's logit scale.

    L = mean over images with a false copy, and over their texts t, of -log( e^{s f(v,t)} / (e^{s f(v,t)} + sum_{n} e^{s
    f(v,n)}) ), n the false copies of the same sample: a copy that is false in one word leaves nothing else to go by
    (Yuksekgonul et al. 2023). Other samples' copies are no negatives, and copies do not enter the denominators of
    `clip` as in NegCLIP. Of DeGLA this is the image-grounded part, at the objective's weight (the paper's is 0.1).

    Args:
        image: view of the images.
        text: view of the true texts.
        negative: view of the false copies, as the view ``other_side`` writes them.
        score: component of `models/scores`.

    Returns:
        ``own_text``; images without a false copy add nothing.

    Example:
        >>> rows = {"image": torch.eye(2), "text": torch.eye(2), "text.negative": torch.eye(2)[[1]]}
        >>> ctx = Context.of({f"{view}/embedding": of for view, of in rows.items()}, {"text": ["left", "right"]})
        >>> term = HardNegatives()(ctx)["own_text"]
        >>> round(term.value().item(), 4), term.count.item()
        (0.3133, 1.0)
    """

    def __init__(
        self, *, image: str = "image", text: str = "text", negative: str = "text.negative", score: str = "dot"
    ) -> None:
        super().__init__()
        self.image = image
        self.text = text
        self.negative = negative
        self.score: Score = build("models/scores", {"name": score}, where="score of objective 'hard_negatives'")

    def needs(self) -> frozenset[Key]:
        """What the score reads of the three views."""
        return keys(*(f"{view}/{part}" for view in (self.image, self.text, self.negative) for part in self.score.reads))

    def heads(self) -> Mapping[str, HeadSpec]:
        """Heads that the score reads."""
        return self.score.heads()

    def forward(self, ctx: Context) -> Terms:
        """Return the one term."""
        views = (self.image, self.text, self.negative)
        image, text, copies = ({part: ctx[f"{view}/{part}"] for part in self.score.reads} for view in views)
        owner, of_text, of_copy = (ctx.owner(f"{view}/{self.score.reads[0]}") for view in views)
        true, false = owner[:, None] == of_text, owner[:, None] == of_copy
        term = contrast(
            Similarity(image, text, self.score, ctx.scale).beside(Similarity(image, copies, self.score)),
            torch.cat([true, torch.zeros_like(false)], dim=1),
            exclude=~torch.cat([true, false], dim=1),
            positives="each",
            row_weight=false.any(dim=1).to(torch.float32),
        )
        return {"own_text": term}
