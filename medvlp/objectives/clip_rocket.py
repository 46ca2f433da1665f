"""CLIP-rocket's recipe (Fini et al. 2023): CLIP on plain views, and on strong ones in a space of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Term, Terms
from medvlp.models.scale import LogitScale
from medvlp.objectives._targets import Exclusion, Relation, among
from medvlp.objectives.clip import Clip


class ClipRocket(Clip):
    r"""A mean of CLIP's loss on the plain views and of CLIP's losses on all pairs of strong views.

    With n strong images and n strong texts a sample, each projected by networks of this objective's own (head `rocket`)
    and compared at a logit scale of its own,

        L = (L_plain + n L_strong) / (1 + n),   L_strong = mean over the n x n pairs (i, j) of CLIP's loss of h_i, h_j,

    with label smoothing in L_strong alone. Without strong views it is `clip`. The bundle's zero-shot answers use the
    plain projection; the strong one is there for training only.

    Args:
        image: view of the plain images.
        text: view of the plain texts.
        images: strong views of the images.
        texts: as many of the texts.
        positives: see `Clip`; of strong views too, where it is the plain text that tells who is the same.
        exclude: see `Clip`, likewise.
        label_smoothing: of the strong views.
        scale: first logit scale of the strong views.
        hidden: width of the two hidden layers of their projections, with BatchNorm over all rows.
        head: name of the projections.

    Returns:
        ``image_to_text``, ``text_to_image``, and ``A_to_B`` for each pair of strong views: their values add up to L.

    Raises:
        ConfigError: if there are not as many strong texts as strong images.

    References:
        Fini et al. 2023 (improved baselines for vision-language pre-training), section 4.

    Note:
        Its authors delete, swap and replace words; a deleted "no" turns a report round. Let `rewrite` and `sentences`
        make the strong texts, which keep negation and side, and use crops that do not mirror for the images.

    Example:
        >>> [str(key) for key in sorted(ClipRocket(images=["image.strong"], texts=["text.strong"]).needs()) if key.part]
        ['image/embedding', 'image.strong/rocket', 'text/embedding', 'text.strong/rocket']
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        images: Sequence[str] = ("image.strong", "image.second"),
        texts: Sequence[str] = ("text.strong", "text.second"),
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        scale: Annotated[float, Field(gt=0, le=100)] = 10.0,
        hidden: Annotated[int, Field(ge=1)] = 4096,
        head: str = "rocket",
    ) -> None:
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        if len(images) != len(texts):
            raise ConfigError(
                f"Objective 'clip_rocket' has {len(images)} strong images and {len(texts)} strong texts: name as many."
            )
        self.images = tuple(images)
        self.texts = tuple(texts)
        self.smoothing = label_smoothing
        self.head = head
        self.strong = LogitScale(init=scale) if images else None
        self._head = HeadSpec("projection", {"hidden": hidden, "layers": 3, "norm": "batch", "stage": "batch"})

    def needs(self) -> frozenset[Key]:
        """What CLIP needs, and the strong views' rows."""
        return super().needs() | keys(*(f"{view}/{self.head}" for view in (*self.images, *self.texts)))

    def heads(self) -> Mapping[str, HeadSpec]:
        """The projections of strong views."""
        return {self.head: self._head} if self.images else {}

    def forward(self, ctx: Context) -> Terms:
        """Return the plain directions and those of each pair of strong views."""
        count = len(self.images)
        terms = {name: term.times(1 / (1 + count)) for name, term in super().forward(ctx).items()}
        for image in self.images:
            for text in self.texts:
                for a, b in ((image, text), (text, image)):
                    terms[f"{a}_to_{b}"] = self._strong(ctx, a, b).times(0.5 / (count * (1 + count)))
        return terms

    def _strong(self, ctx: Context, a: str, b: str) -> Term:
        rows, columns = f"{a}/{self.head}", f"{b}/{self.head}"
        return among(
            ctx,
            unit(ctx[rows]),
            unit(ctx.all(columns)),
            self.positives,
            self.exclude,
            rows=rows,
            columns=columns,
            text=self.text,
            scale=self.strong,
            label_smoothing=self.smoothing,
        )
