"""A report written from regions of a picture, several times with noise; the one most like the picture is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field

from medvlp.answers._writer import Writer, draws_of, memories
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.encoded import unit
from medvlp.core.keys import Key, keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.features.embed import embed
from medvlp.models._draws import normal_of
from medvlp.models.projected import projected, refuse_unprojected


class MaccapReport(Answer):
    r"""MacCap's report: from u(v + w u(P r_c) + n_c), c = 1..C, v a picture's embedding and r_c its regions.

    P is the picture's projection and n_c ~ N(0, s^2) in each number, a function of the picture's id. It is written
    `tries` times, and the text with the largest cosine to v is the report; a picture that is not there has none.

    Args:
        head: name of the writer.
        regions: part of the head `attended_regions`.
        std: s.
        weight: w.
        tries: how many times it is written.
        longest: most tokens of a report; None: as many as the tokenizer allows.
        decoding: how words are chosen where who asks does not say it; the paper's 4 beams, ranked by the
            mean of their log probabilities.

    Raises:
        ConfigError: if the projection does not read what the tower pools, or pools in another width than its tokens'.

    References:
        Qiu et al. 2024 (MacCap), inference and caption reranking; its released code has 10 tries where it ranks them.

    Note:
        The cosine tells findings and not whether they are denied, so the text that it prefers may be the wrong one of
        "effusion" and "no effusion".

    Example:
        >>> MaccapReport(tries=3).released()["tries"], sorted(map(str, MaccapReport().needs(None)))
        (3, ['image/embedding', 'image/regions'])
    """

    gives: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(
        self,
        *,
        head: str = "captioner",
        regions: str = "regions",
        std: Annotated[float, Field(ge=0)] = 0.016**0.5,
        weight: Annotated[float, Field(ge=0)] = 1.0,
        tries: Annotated[int, Field(ge=1)] = 5,
        longest: Annotated[int, Field(ge=1)] | None = None,
        decoding: str = "beams=4,length_penalty=1",
    ) -> None:
        self.head, self.regions, self.longest = head, regions, longest
        self.std, self.weight, self.tries = std, weight, tries
        self.decoding = decoding
        Decoding.of(decoding)

    def needs(self, model: Model | None) -> frozenset[Key]:
        """The picture's embedding and its regions."""
        return keys("image/embedding", f"image/{self.regions}")

    def check(self, model: Model) -> None:
        """Refuse a model that cannot write, or whose projection does not take regions."""
        Writer.of(model, self.head)
        refuse_unprojected(model)
        super().check(model)

    def begin(self, model: Model, ask: Ask) -> tuple[Writer, Model]:
        """Return the writer with its tokenizer, and the model."""
        return Writer.of(model, self.head), model

    def answer(self, rows: Rows, ask: Ask, begun: tuple[Writer, Model]) -> Predictions:
        """Write a report of each row."""
        writer, model = begun
        texts, decoding = [""] * len(rows.table), ask.decoding or Decoding.of(self.decoding)
        for index, regions in memories(rows.table[f"image/{self.regions}"], writer.device):
            v = torch.from_numpy(np.ascontiguousarray(rows.table["image/embedding"][index])).to(regions)
            ids = [rows.table.ids[i] for i in index]
            aimed, best = v[:, None] + self.weight * projected(model, regions), np.full(len(index), -np.inf)
            for attempt in range(self.tries if self.std > 0 or (decoding and decoding.drawn) else 1):
                draws = draws_of(ids, 2 * aimed[0].numel(), seed=0, name=f"noise {attempt}").to(regions)
                memory = unit(aimed + self.std * normal_of(draws).view_as(aimed))
                chosen = None if decoding is None else replace(decoding, seed=decoding.seed + attempt)
                written = writer.write(memory, longest=self.longest, decoding=chosen, ids=ids)
                cosines = (embed(model, "text", written) * v.cpu().numpy()).sum(axis=1)
                for place in np.flatnonzero(cosines > best).tolist():
                    texts[index[place]], best[place] = written[place], cosines[place]
        return Predictions(tuple(rows.table.ids), text=tuple(texts))
