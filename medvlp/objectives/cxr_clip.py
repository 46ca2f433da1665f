"""CXR-CLIP (You et al. 2023): two images and two texts of a study, every pair of them compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec
from medvlp.core.term import Term, Terms
from medvlp.objectives._targets import Exclusion, Paired, Relation, among
from medvlp.objectives.clip import Clip


class CxrClip(Paired):
    r"""CLIP between each image and each text of a study, and between its two images and its two texts.

    With C(a, b) the symmetric cross entropy of `clip` between two views, x1 and x2 two images of a study (a second
    projection, or the same film augmented anew), t1 and t2 two texts of it (findings and impression, or report and a
    prompt made of labels),

        L = 1/4 sum_{a, b} C(x_a, t_b)  +  w_I C(x1, x2)  +  w_T C(t1, t2),

    the last two the paper's image and text contrastive losses. A study that lacks a view adds nothing where it is
    missing. One name instead of two is allowed on either side, and its own term is then left out; with one on both
    sides the loss is `clip`.

    Args:
        images: views of the images, one or two.
        texts: views of the texts, one or two.
        image_weight: w_I.
        text_weight: w_T.
        positives: which rows belong to each other, see `clip`; of a couple of texts the second is compared, and two
            images for which nothing is stated (``true_of``) go by the report.
        exclude: which of the others are left out.

    Returns:
        ``ROWS_to_COLUMNS`` for each couple in both directions, times its share.

    Raises:
        ConfigError: for no view, three, or one twice.

    References:
        You et al. 2023, multi-view supervision, image and text contrastive loss; the weights are the paper's.

    Note:
        Frontal and lateral film do not show the same: an apical pneumothorax is invisible on the one, a small effusion
        on the other. The image term pulls them together all the same; what only one of them shows is its price.

    Example:
        >>> import torch
        >>> rows = {f"{v}/embedding": torch.eye(2) for v in ("image", "image.other", "text", "text.prompt")}
        >>> fields = {"text": ["clear", "effusion"], "text.prompt": ["normal", "with effusion"]}
        >>> terms = CxrClip()(Context.of(rows, fields))
        >>> len(terms), round(sum(term.value() for term in terms.values()).item(), 4)  # (1 + 1 + 1/2) times 0.3133
        (12, 0.7832)
    """

    def __init__(
        self,
        *,
        images: Sequence[str] = ("image", "image.other"),
        texts: Sequence[str] = ("text", "text.prompt"),
        image_weight: Annotated[float, Field(ge=0)] = 1.0,
        text_weight: Annotated[float, Field(ge=0)] = 0.5,
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
    ) -> None:
        for side, views in (("images", images), ("texts", texts)):
            if not 1 <= len(set(views)) == len(views) <= 2:
                raise ConfigError(f"{side} of objective 'cxr_clip' are {list(views)}: name one view or two, each once.")
        super().__init__(image=images[0], text=texts[0], positives=positives, exclude=exclude)
        self.weights = {"image_text": 1.0, "image_image": image_weight, "text_text": text_weight}
        self.couples = {
            "image_text": tuple(product(images, texts)),
            "image_image": (tuple(images),) if len(images) == 2 else (),
            "text_text": (tuple(texts),) if len(texts) == 2 else (),
        }
        self.images, self.compared = tuple(images), tuple(texts)

    def needs(self) -> frozenset[Key]:
        """Embeddings of all views, and the fields that tell who is the same."""
        return super().needs() | keys(*(f"{view}/embedding" for view in (*self.images, *self.compared)))

    def answers(self) -> Sequence[AnswerSpec]:
        """Those of `clip`."""
        return Clip(image=self.image, text=self.text).answers()

    def forward(self, ctx: Context) -> Terms:
        """Return both directions of each couple."""
        terms: dict[str, Term] = {}
        for name, couples in self.couples.items():
            for one, other in couples:
                share = self.weights[name] / (2 * len(couples))
                terms[f"{one}_to_{other}"] = self._direction(ctx, one, other).times(share)
                terms[f"{other}_to_{one}"] = self._direction(ctx, other, one).times(share)
        return terms

    def _direction(self, ctx: Context, rows: str, columns: str) -> Term:
        both = {"rows": f"{rows}/embedding", "columns": f"{columns}/embedding"}
        text = next((view for view in (columns, rows) if view in self.compared), None)
        # No text is asked whether it is true of another image.
        report: dict[str, Any] = {"true_of": "same_report"} if text is None else {}
        positives, exclude = report.get(self.positives, self.positives), report.get(self.exclude, self.exclude)
        own, everybody = ctx[both["rows"]], ctx.all(both["columns"])
        return among(ctx, own, everybody, positives, exclude, **both, text=text or self.text)
