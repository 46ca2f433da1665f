"""DITO (Kim et al. 2024): a report finds its picture through boxes drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Term, Terms
from medvlp.models.heads._regions import map_of
from medvlp.models.heads.box_head import BoxHead
from medvlp.objectives._regions import plane, random_boxes
from medvlp.objectives._targets import Exclusion, Paired, Relation


class Dito(Paired):
    r"""Contrast of reports with the strongest of random boxes, the pretraining part of DITO.

    On each level l of a pyramid over the tokens, Q boxes b of a picture are read by RoIAlign and a head g of two
    layers; their maximum, number by number, stands for the picture::

        v_l = unit(max over b of g(RoIAlign(P_l, b)))
        L   = mean over l of the loss of `clip` between v_l and the text

    So a report may be answered by one place of the picture, and the head learns to read boxes without a single drawn
    one. With one box that is the whole picture and one level it is CLIP's loss on that head. The detector that is
    trained afterwards is `dito_detector`. Left out of the paper: the shifted windows of its tower.

    Args:
        image: view of the pictures, whose tokens form a grid.
        text: view of the texts.
        boxes: Q.
        area: smallest and largest share of the picture that a box covers.
        ratio: smallest and largest width / height.
        positives: as in `clip`.
        exclude: as in `clip`.
        head: options of the head `box_head`: ``scales`` for several levels.

    Returns:
        ``image_to_text`` and ``text_to_image``, means over the levels, each at half weight.

    Raises:
        ConfigError: for ranges that hold no box.

    Note:
        A maximum over boxes sees what is there, never that nothing is: "no effusion" is a statement about the whole
        picture, which the objective `clip` beside this one must teach.

    References:
        Kim et al. 2024 (Region-centric image-language pretraining for open-vocabulary detection), section 3.2.

    Example:
        >>> sorted(map(str, Dito(positives="own").needs())), Dito(boxes=8).boxes
        (['image/tokens', 'text/embedding'], 8)
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        boxes: Annotated[int, Field(ge=1)] = 16,
        area: tuple[float, float] = (0.05, 0.5),
        ratio: tuple[float, float] = (0.5, 2.0),
        positives: Relation = "same_report",
        exclude: Exclusion = "none",
        head: dict[str, Any] = {},  # noqa: B006  (read only; the default is part of the schema)
    ) -> None:
        super().__init__(image=image, text=text, positives=positives, exclude=exclude)
        if not (0 < area[0] <= area[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ConfigError(
                f"Objective 'dito' draws boxes of area {area} and ratio {ratio}: give each from smallest to largest, "
                "above 0, the area at most 1."
            )
        self.boxes, self.area, self.ratio, self.head = boxes, area, ratio, head

    def needs(self) -> frozenset[Key]:
        """Tokens, texts, and the fields that tell who is the same."""
        return super().needs() | keys(f"{self.image}/tokens", f"{self.text}/embedding")

    def heads(self) -> Mapping[str, HeadSpec]:
        """The head of boxes."""
        return {"dito": HeadSpec("box_head", self.head)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions."""
        key = f"{self.image}/tokens"
        tokens, sample = ctx[key], ctx.parts[parse_key(key)].owner
        drawn = ctx.uniform(self.boxes, 4, name="boxes of dito")[sample]  # (R, Q, 4)
        boxes = random_boxes(drawn, area=self.area, ratio=self.ratio).flatten(0, 1)
        row = sample.new_tensor(range(len(sample))).repeat_interleave(self.boxes)
        head = cast("BoxHead", ctx.heads["dito"])
        read = head.forward_boxes(map_of(tokens, plane(ctx, key)), boxes, row)
        terms: dict[str, Term] = {}
        for level in read.unflatten(1, (len(tokens), self.boxes)).amax(dim=2):
            for name, term in self.both_ways(ctx, unit(level), key).items():
                terms[name] = terms[name] + term if name in terms else term
        return terms
