"""Captioning: the report is written word by word from the picture; with the options below, CoCa's second loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.term import Terms
from medvlp.models.heads._speaker import Speaker
from medvlp.objectives._labels import labels_of
from medvlp.objectives._rows import first_of, memory_keys
from medvlp.objectives._written import begun, head_of, next_token
from medvlp.objectives.classify import Classify

Count = Annotated[int, Field(ge=1)]


class Caption(Objective):
    r"""Sum over real tokens of the cross entropy of the next token, given the image and the tokens before it.

    L = - sum_{l >= 1} log p(w_l | w_{<l}, image) over all texts, divided by the number of predicted tokens over all
    processes and chunks; padding is neither predicted nor counted, and the first token is given. Each text is written
    from the first image of its own sample; a text without an image is left out.

    CoCa (Yu et al. 2022) is this objective at weight 2 with ``part: captions, words: tower``, beside `clip` at weight
    1, on a model whose text tower is ``causal`` with ``pool: last`` and whose heads are ``image/captions: {name:
    pooler, queries: 256}``, ``image/contrast: {name: pooler}`` and ``image/raw: {name: projection, reads: contrast}``.

    With `findings` the decoder is told which of them are present (PromptMRG, Jin et al. 2024, without its retrieval and
    adaptive weights): in training by the sample's labels, when a report is asked for by a linear classifier of the
    picture, which is trained beside it (`Classify`) and is an answer of its own.

    Args:
        image: view that is written from; of a stack, its slices.
        text: view whose words are written, all of them: its encoder must give ``ids``.
        part: of the image: its ``tokens``, or the vectors of a pooler that the model has.
        question: view of a question that each text begins with, as ``text.question`` of a VQA data set: it is given and
            not predicted, and the model is asked for answers instead of reports.
        words: ``own``: the decoder embeds the words itself; ``tower``: it stands on the tokens of the text tower, which
            must be causal.
        width: of the decoder; None: see `Generator`.
        layers: its blocks.
        heads: of its attention.
        decoder: another head that writes, a component with its options, such as `limber`, instead of `words`, `width`,
            `layers` and `heads`. LiMBeR (Merullo et al. 2023) is this objective with it, the towers held.
        head: name under which the decoder is mounted; two captioners of one name share it.
        findings: labels that the decoder is told; empty: none.
        threshold: probability from which the classifier's finding is told as present. F1 is best from half of the best
            F1 on (Lipton et al. 2014), so 0.35 where that is 0.7.

    Returns:
        ``next_token``; with `findings` also ``binary``, see `Classify`.

    Raises:
        ConfigError: if questions are to be answered from findings, or another decoder is given sizes or findings.

    Example:
        >>> sorted(map(str, Caption().needs()))
        ['image/tokens', 'text/ids', 'text/mask']
    """

    scope: Literal["batch", "sample"] = "sample"

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        part: str = "tokens",
        question: str | None = None,
        words: Literal["own", "tower"] = "own",
        width: Count | None = None,
        layers: Count = 2,
        heads: Count = 4,
        decoder: Mapping[str, Any] | None = None,
        head: str = "captioner",
        findings: list[str] = [],  # noqa: B006  (read only)
        threshold: Annotated[float, Field(gt=0, lt=1)] = 0.35,
    ) -> None:
        super().__init__()
        if findings and question is not None:
            raise ConfigError("Objective 'caption' tells findings to reports, not to answers: leave out one of them.")
        if decoder is not None and (findings or words == "tower"):
            raise ConfigError(
                "Objective 'caption' tells findings to its own decoder, which alone stands on a text tower: leave out "
                "decoder, or findings and words."
            )
        if decoder is not None and (width, layers, heads) != (None, 2, 4):
            raise ConfigError(
                "width, layers and heads of objective 'caption' are of its own decoder: leave them out, or say them "
                "under decoder."
            )
        self.classify = Classify(labels=findings, view=image) if findings else None
        self.threshold = threshold
        self.head = head
        sizes = {"width": width, "layers": layers, "heads": heads}
        own = {**sizes, "words": words, **({"findings": len(findings)} if findings else {})}
        self.decoder = head_of(own if decoder is None else decoder, part)
        self._memory, self._memory_mask = memory_keys(image, part)
        self._ids, self._mask = f"{text}/ids", f"{text}/mask"
        self._words = f"{text}/tokens" if words == "tower" else self._ids
        self._question = None if question is None else f"{question}/mask"

    def needs(self) -> frozenset[Key]:
        """The image tokens, the text's token ids and mask; the text's tokens where the decoder reads them."""
        asked = (self._memory, self._memory_mask, self._ids, self._mask, self._words, self._question)
        of_findings = frozenset() if self.classify is None else self.classify.needs()
        return keys(*(key for key in asked if key)) | of_findings

    def heads(self) -> Mapping[str, HeadSpec]:
        """The text decoder, and the classifier of findings that conditions it."""
        of_findings = {} if self.classify is None else self.classify.heads()
        return {self.head: self.decoder, **of_findings}

    def answers(self) -> Sequence[AnswerSpec]:
        """A written report, or answers to questions."""
        options: dict[str, object] = {"head": self.head, "reads": self._memory}
        if self.classify is None:
            return (AnswerSpec("report" if self._question is None else "question", options),)
        of_findings = {"findings": self.classify.key, "threshold": self.threshold}
        return (AnswerSpec("report", options | of_findings), *self.classify.answers())

    def forward(self, ctx: Context) -> Terms:
        """Return the terms."""
        image = first_of(ctx.owner(self._memory), ctx.owner(self._ids))
        written = image >= 0
        ids, mask = ctx[self._ids][written], ctx[self._mask][written]
        memory, memory_mask = self._seen(ctx, image[written])
        generator = cast("Speaker", ctx.heads[self.head])
        of_findings, terms = None, {}
        if self.classify is not None:
            labels, known = labels_of(ctx, self._ids, self.classify.labels)
            of_findings, terms = torch.where(known, labels, -1)[written], self.classify(ctx)
        logits = generator.forward_logits(memory, memory_mask, ctx[self._words][written], of_findings)
        given = None
        if self._question is not None:
            texts = ctx.owner(self._ids)[written]
            given = begun(ctx[self._question], ctx.owner(self._question), texts, length=ids.shape[1])
        return {"next_token": next_token(logits, ids, mask, given), **terms}

    def _seen(self, ctx: Context, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what the decoder reads of some pictures, (R, N, W), and where it is real."""
        memory = ctx[self._memory][image]
        mask = None if self._memory_mask is None else ctx[self._memory_mask][image]
        return memory if memory.dim() == 3 else memory[:, None], mask
