"""Anchors of CAPro: samples whose report says most plainly what their label says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import Encoded, unit
from medvlp.core.errors import ConfigError
from medvlp.core.modes import evaluating
from medvlp.core.table import FeatureTable
from medvlp.features.reranking import reranked, smoothed
from medvlp.models.architectures._mounting import HeadedModel
from medvlp.state._samples import packed, rows_of, unpacked


class Anchors(BaseModel):
    """How anchors are chosen: reports are smoothed over images that look alike, and compared with a definition.

    Attributes:
        texts: key of the reports' rows; a sample without one takes those of its neighbours.
        bank: whose texts define the findings, by the names of its entries, in the space of `texts`; None: a finding is
            defined by the mean of the reports that have its label.
        each: anchors of each label, or as many as there are: of the samples with it the nearest to the definition, of
            those without it the farthest.
        neighbours: k1 of `reranked`.
        inner: k2 of it, and how many neighbours a report is smoothed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: str = "text/embedding"
    bank: str | None = None
    each: int = Field(default=50, ge=1)
    neighbours: int = Field(default=20, ge=2)
    inner: int = Field(default=6, ge=1)


class Anchored:
    """The samples that were chosen, each for some findings (Yang et al. 2023, section 3.2)."""

    def __init__(self, options: Anchors, labels: Sequence[str]) -> None:
        self.options = options
        self.labels = tuple(labels)
        self._places: dict[str, int] = {}
        self._chosen = torch.zeros(0, len(labels), dtype=torch.bool)

    def of(self, ids: Sequence[str]) -> Tensor:
        """Return for which findings samples are anchors, bool (R, L)."""
        return rows_of(self._chosen, self._places, ids, missing=False)

    def choose(self, table: FeatureTable, rows: Tensor, labels: Tensor, model: nn.Module | None) -> Tensor:
        """Choose among the samples of all processes, and return for which findings own ones were chosen, (N, L).

        Args:
            table: of own samples, with the reports' rows.
            rows: (N, D) their images' unit rows.
            labels: (N, L).
            model: that encodes the definitions.
        """
        texts = unit(torch.from_numpy(table[self.options.texts]))
        device = collectives.device_of(model)
        every = [collectives.gather_rows(each.to(device)).cpu() for each in (rows.float(), texts, labels)]
        ids = collectives.gather_list(table.ids)
        images, texts, labels = every
        options = self.options
        near = reranked(images, neighbours=options.neighbours, inner=options.inner)
        texts = unit(smoothed(texts, near[:, : options.inner])).double()
        score = texts @ self._definitions(texts, labels, model).T  # (N, L); NaN where no report is near
        chosen = torch.zeros_like(labels, dtype=torch.bool)
        for value, sign in ((1.0, 1.0), (0.0, -1.0)):
            ranked = torch.where((labels == value) & score.isfinite(), sign * score, -torch.inf)
            order = torch.argsort(ranked, dim=0, descending=True, stable=True)[: options.each]
            chosen |= torch.zeros_like(chosen).scatter_(0, order, True) & ranked.isfinite()
        self._places, self._chosen = {each: i for i, each in enumerate(ids)}, chosen
        return self.of(table.ids)

    def _definitions(self, texts: Tensor, labels: Tensor, model: nn.Module | None) -> Tensor:
        """Return a unit vector a finding, (L, D)."""
        if self.options.bank is None:
            member = ((labels == 1) & texts.isfinite().all(dim=1, keepdim=True)).to(texts)
            return unit(member.T @ texts.nan_to_num())
        bank = model.banks.get(self.options.bank) if isinstance(model, HeadedModel) else None
        missing = set(self.labels) - set(bank.names if bank is not None else ())
        if bank is None or missing or not isinstance(model, HeadedModel):
            raise ConfigError(
                f"bank {self.options.bank!r} of the anchors defines no {', '.join(sorted(missing))}: describe a bank "
                "of that name with one entry for each of the labels."
            )
        owner = torch.zeros(0, dtype=torch.int64, device=next(model.parameters()).device)
        with evaluating(model), torch.no_grad():
            found = model.texts_of(bank.name, Encoded(owner=owner))
        return unit(found[[bank.names.index(name) for name in self.labels]].cpu().to(texts))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the samples and for which findings they were chosen."""
        return {"anchored": self._chosen.to(torch.uint8), "anchored_ids": packed(self._places)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._places, self._chosen = unpacked(tensors["anchored_ids"]), tensors["anchored"].cpu().bool()
