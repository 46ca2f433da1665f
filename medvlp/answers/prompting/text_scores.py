"""Scores of pictures against texts by any component of `medvlp.models.scores`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medvlp.core.keys import Plan, keys
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model, Score
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable, concatenate_rows
from medvlp.features.embed import embed_parts

_ROWS = 64  # pictures scored at a time: late interaction holds rows x texts x tokens


class TextScores:
    """A model's score, of stored parts of pictures against texts; texts are encoded once.

    Args:
        model: that encodes texts.
        score: reads its parts from both sides; it is brought to the model's device.
    """

    def __init__(self, model: Model, score: Score) -> None:
        self.model, self._device = model, next(model.parameters()).device
        self._score = score.to(self._device)
        self._texts: dict[str, dict[str, np.ndarray]] = {}

    def of(self, table: FeatureTable, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return text -> (N,) scores, unscaled; NaN where a row has no picture.

        Args:
            table: with the columns ``PICTURES/part`` of what the score reads.
            texts: any, repeated ones are scored once.
        """
        asked = list(dict.fromkeys(texts))
        matrix = self.matrix(table, self.encoded(asked))
        return {text: matrix[:, i] for i, text in enumerate(asked)}

    def encoded(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the score reads of texts: part -> (T, ...)."""
        new = [text for text in texts if text not in self._texts]
        if new:
            parts = embed_parts(self.model, "text", new, self._score.reads)
            for i, text in enumerate(new):
                self._texts[text] = {name: values[i] for name, values in parts.items()}
        rows = {name: [self._texts[text][name][None] for text in texts] for name in self._score.reads}
        return {name: concatenate_rows(values) for name, values in rows.items()}

    def matrix(self, table: FeatureTable, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Return (N, T) scores of the rows of a table against encoded texts."""
        view = self.model.vision_kind
        rows = {part: table[f"{view}/{part}"] for part in self._score.reads}
        other = {part: _tensor(values, part).to(self._device) for part, values in columns.items()}
        known = np.ones(len(table), dtype=bool)
        for values in rows.values():
            known &= np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        found = np.full((len(table), len(next(iter(other.values())))), np.nan, dtype=np.float32)
        where = np.flatnonzero(known)
        with evaluating(self._score), torch.inference_mode():
            for start in range(0, len(where), _ROWS):
                some = where[start : start + _ROWS]
                own = {part: _tensor(values[some], part).to(self._device) for part, values in rows.items()}
                found[some] = self._score(own, other).float().cpu().numpy()
        return found

    def tokens_of(
        self, pixels: Tensor, pairs: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[np.ndarray] | None:
        """Return (rows, columns) a pair: what an image token adds to the score of some texts less that of others.

        Only for a score that is a mean over the image's tokens, each against a text (`late_interaction`): a token's
        part is then its own score. None for another one, or where tokens form no grid.
        """
        if not self._score.by_token:
            return None
        view = self.model.vision_kind
        plan = Plan.of(keys(*(f"{view}/{part}" for part in self._score.reads), f"{view}/tokens"))
        with evaluating(self.model), torch.inference_mode():
            batch = Batch.of({view: pixels[None].to(self._device)})
            encoded = self.model.finish(self.model(batch, plan), plan)[view]
            if encoded.grid is None:
                return None
            parts = {part: encoded.part(part)[0] for part in self._score.reads}
            single = {name: values[:, None] for name, values in parts.items()}  # each token a row of its own

            def mean(texts: Sequence[str]) -> Tensor:
                words = {p: _tensor(v, p).to(self._device) for p, v in self.encoded(list(texts)).items()}
                return self._score(single, words).mean(dim=1)

            found = [mean(positive) - mean(negative) for positive, negative in pairs]
        return [each.reshape(encoded.grid).float().cpu().numpy() for each in found]


def _tensor(values: np.ndarray, part: str) -> Tensor:
    made = torch.from_numpy(np.ascontiguousarray(values))
    return made > 0.5 if part == "mask" else made
