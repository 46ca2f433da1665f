"""CgT-GAN (Yu et al. 2023): reports without pairs, by what CLIP holds of them and by whether they pass as reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.decoding import Decoding
from medvlp.core.encoded import promoted
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import AnswerSpec, HeadSpec, Objective
from medvlp.core.schedules import Number, Ramp, value_at
from medvlp.core.term import Term, Terms
from medvlp.objectives._rewards import clip_agg, embedded, log_probability, whole_texts
from medvlp.objectives._written import head_of


class CgtGan(Objective):
    r"""Self-critical sampling with a reward of CLIP and one of a critic, who learns beside it to tell texts apart.

    Of each image n texts y are drawn and one, y*, is written greedily. With sg of what gives no gradient:
    reward: -w log p(y) sg(r(y) - r(y*)); style: -(1 - w) log p(y) sg(D(y) - D(y*)); over all n texts of all images,
    log p(y) the sum over their tokens. The critic D learns by the binary cross entropy of the batch's texts (real) and
    of y (fake). That gradient reaches the critic alone and that of the other two the writer alone, so that one
    optimiser with ``rates: {"model.heads.critic.*": ...}`` is the paper's two, but for the common clip of the gradient.

    r is CLIP-agg (`clip_agg`) with the texts of a bank, or without one s cos(v, c) of image v and text c. No image is
    compared with the report of its own sample.

    Args:
        image: view that is written of, by its embedding.
        text: view of the corpus, of whatever samples.
        clip: state that scores texts: `frozen`, with the model's own tokenizer.
        corpus: bank of texts; None: the cosine with the image is the reward.
        sharpness: t of CLIP-agg; 175 in the paper for a corpus of another domain.
        scale: s, that of CLIP's logits.
        reward_weight: w; in the paper 0 for 150 steps, then raised to 0.5 over 2350.
        samples: n.
        longest: most words that are drawn.
        decoder: head that writes, with its options.
        critic: options of the head `critic`.
        head: name under which the writer is mounted.

    Returns:
        ``reward`` and ``style``, of which only the gradients mean something; ``real`` and ``fake``.

    Raises:
        ConfigError: if the state's model has another tokenizer, or one that has no first and last token.

    References:
        Yu et al. 2023, CLIP-agg reward and training; Rennie et al. 2017, self-critical sequence training, with the sum
        over tokens; CgT-GAN's released code has their mean, whose gradient is shorter by the length of a text.

    Note:
        CLIP hardly tells "no effusion" from "effusion", nor left from right, and is the only teacher of what is true: a
        report by this objective may be fluent and deny what is there. Begin with `close`, and read reports back.

    Example:
        >>> sorted(map(str, CgtGan(corpus=None).needs()))[:3], sorted(CgtGan().heads())
        (['clip:image/embedding', 'image/embedding', 'state:clip'], ['captioner', 'critic'])
    """

    def __init__(
        self,
        *,
        image: str = "image",
        text: str = "text",
        clip: str = "clip",
        corpus: str | None = "corpus",
        sharpness: Annotated[float, Field(ge=0)] = 100.0,
        scale: Annotated[float, Field(gt=0)] = 100.0,
        reward_weight: Number = Ramp(start=0.0, end=0.5, begin=9_600, until=160_000),  # noqa: B008  (frozen)
        samples: Annotated[int, Field(ge=1)] = 5,
        longest: Annotated[int, Field(ge=1)] = 20,
        decoder: Mapping[str, Any] = {},
        critic: Mapping[str, Any] = {},
        head: str = "captioner",
    ) -> None:
        super().__init__()
        self.image, self.text, self.clip, self.corpus = image, text, clip, corpus
        self.sharpness, self.scale, self.reward_weight = sharpness, scale, reward_weight
        self.samples, self.longest, self.head = samples, longest, head
        self._heads = {head: head_of(decoder, "embedding"), "critic": HeadSpec("critic", critic)}

    def needs(self) -> frozenset[Key]:
        """Images as the writer and as CLIP sees them, the texts' ids, and the corpus."""
        bank = [] if self.corpus is None else [f"{self.clip}:bank.{self.corpus}/embedding"]
        seen = (f"{self.image}/embedding", f"{self.clip}:{self.image}/embedding", f"state:{self.clip}")
        return keys(*seen, f"{self.text}/ids", f"{self.text}/mask", *bank)

    def heads(self) -> Mapping[str, HeadSpec]:
        """The writer, and the critic, which is not released."""
        return self._heads

    def answers(self) -> Sequence[AnswerSpec]:
        """A report of a picture."""
        return (AnswerSpec("report", {"head": self.head, "reads": f"{self.image}/embedding"}),)

    def forward(self, ctx: Context) -> Terms:
        """Return the four terms."""
        writer, critic = cast("Any", ctx.heads[self.head]), cast("Any", ctx.heads["critic"])
        image, words = ctx[f"{self.image}/embedding"][:, None], self._words(ctx)
        own = ctx.owner(f"{self.image}/embedding") - ctx.index.first
        draws = ctx.uniform(self.samples, self.longest, name="cgt_gan")[own].flatten(0, 1)
        many = image.repeat_interleave(self.samples, dim=0)
        ends: dict[str, Any] = {"start": words.start_id, "stop": words.stop_id}
        made = {**ends, "longest": self.longest}
        one = Decoding(temperature=1.0)
        drawn = whole_texts(writer.write(many.detach(), None, **made, decoding=one, draws=draws), **ends)
        greedy = whole_texts(writer.write(image.detach(), None, **made), **ends)
        fake = critic.logits(*drawn)
        with torch.no_grad():
            reward, style = self._reward(ctx, greedy, 1), critic.logits(*greedy)
            better = self._reward(ctx, drawn, self.samples) - reward.repeat_interleave(self.samples)
            finer = fake.detach() - style.repeat_interleave(self.samples)
        logs = log_probability(promoted(writer.forward_logits(many, None, drawn[0][:, :-1])), *drawn)
        w = value_at(self.reward_weight, ctx.samples_seen)
        return {
            "reward": Term.of(-w * logs * better),
            "style": Term.of(-(1 - w) * logs * finer),
            "real": Term.of(F.softplus(-promoted(critic.logits(ctx[f"{self.text}/ids"], ctx[f"{self.text}/mask"])))),
            "fake": Term.of(F.softplus(promoted(fake))),
        }

    def _reward(self, ctx: Context, texts: tuple[Tensor, Tensor], times: int) -> Tensor:
        """Return r of texts, `times` of each image."""
        written = embedded(ctx.state[self.clip], *texts)
        v = ctx[f"{self.clip}:{self.image}/embedding"].repeat_interleave(times, dim=0)
        if self.corpus is None:
            return self.scale * (v * written).sum(dim=1)
        corpus = ctx[f"{self.clip}:bank.{self.corpus}/embedding"]
        return clip_agg(v, corpus, written, sharpness=self.sharpness, scale=self.scale)

    def _words(self, ctx: Context) -> Any:  # noqa: ANN401
        """Return the tokenizer of what is written."""
        words, texts = cast("Any", ctx.state[self.clip]).model.tokenizer, ctx.batch.columns.get(self.text)
        there = {} if texts is None else texts.tokens
        if not hasattr(words, "stop_id") or (there and words.identity not in there):
            raise ConfigError(
                f"State {self.clip!r} scores what this model writes, and its tokenizer is another, or has no first and "
                f"last token: let it be a frozen copy of the model, or a bundle with the model's tokenizer."
            )
        return words
