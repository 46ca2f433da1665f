"""A dual-stream head (`medvlp.models.heads.dual_stream`) in its place, and where it looked in an image."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, UserError, did_you_mean
from medvlp.core.keys import Key, Plan
from medvlp.core.map import Map
from medvlp.core.modes import evaluating
from medvlp.core.protocols import Model
from medvlp.core.sample import Batch, Sample
from medvlp.models.heads.dual_stream import DualStream
from medvlp.text.medslip_findings import finding_columns, score_names


@dataclass(frozen=True)
class Mounted:
    """A dual-stream head on its view of images.

    Attributes:
        view: of the images.
        part: name of the head.
        head: itself.
    """

    view: str
    part: str
    head: DualStream

    def key(self, part: str = "") -> Key:
        """Return the key of the pairs' logits, or of those of existence (``pathology``) or places (``anatomy``)."""
        return Key(self.view, f"{self.part}_{part}" if part else self.part)

    @property
    def observations(self) -> tuple[str, ...]:
        """Names of the pathologies."""
        return self.head.pathology.names or self.head.pathology.texts

    @property
    def anatomies(self) -> tuple[str, ...]:
        """Names of the anatomies."""
        return self.head.anatomy.names or self.head.anatomy.texts

    def look(self, model: Model, sample: Sample, asked: Sequence[tuple[str, str]]) -> list[Map] | None:
        """Return where the decoder looked for words, the mean over its layers and heads; None without an image's grid.

        The map of a word at a place is the product of both, at sum 1.

        Args:
            model: that has the head.
            sample: prepared, with pixels.
            asked: (finding or word, place) each; an empty place is none.

        Raises:
            UserError: for a word or a place that it does not know.
        """
        pixels = sample.fields.get(self.view)
        if not isinstance(pixels, Tensor):
            return None
        pairs, existence = self.key(), self.key("pathology")
        plan = Plan.of([pairs, existence, Key(self.view, "tokens"), Key(self.view, "mask")])
        with evaluating(model), torch.inference_mode():
            batch = Batch.of({self.view: pixels[None].to(next(model.parameters()).device)})
            encoded = model.finish(model(batch, plan), plan)[self.view]
            weights = self.head.attention(encoded)
        if encoded.grid is None:
            return None
        words, places = (
            values[0].float().mean(dim=0).reshape(-1, *encoded.grid).cpu()
            for values in (weights.pathology, weights.anatomy)
        )
        there = encoded.part(existence.part)[0].float().softmax(dim=-1)[:, 1]
        at_place = encoded.part(pairs.part)[0].float().sigmoid()
        found = []
        for name, place in asked:
            word = self._row(name)
            seen, score = words[word], there[word]
            if place:
                _refuse_unknown(place, self.anatomies, "place")
                row = self.anatomies.index(place)
                seen, score = seen * places[row], at_place[row, word]
            values = (seen / seen.sum().clamp_min(1e-12)).numpy()
            found.append(Map(values, method="cross_attention", score=float(score)))
        return found

    def _row(self, name: str) -> int:
        known = {name: row for row, name in enumerate(score_names(self.observations))}
        known |= finding_columns(self.observations) | {name: row for row, name in enumerate(self.observations)}
        _refuse_unknown(name, known, "observation")
        return known[name]


def mounted_at(model: Model, head: str) -> Mounted:
    """Return the dual-stream head of a name on the model's images.

    Raises:
        ConfigError: if there is none.
    """
    found = dict(model.heads.items()).get(f"{model.vision_kind}/{head}")
    if not isinstance(found, DualStream):
        raise ConfigError(
            f"This model has no dual_stream head {head!r} on its {model.vision_kind}: mount it, or ask another."
        )
    return Mounted(model.vision_kind, head, found)


def _refuse_unknown(name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        raise UserError(f"This model knows no {what} {name!r}: {did_you_mean(name, known)}.")
