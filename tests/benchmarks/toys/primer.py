"""Statements, some denied, learnt without labels: each finds its other reading. A probe then tells the findings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.objectives import contrast
from medvlp.statistics.metrics import auroc

CLAIM = "Two readings by dropout keep what a probe needs of negation; readings with words deleted at random lose it."
BETTER, WORSE = "dropout", "deletion"
NO, FINDINGS, FILLERS, LENGTH = 0, 12, 20, 8


class Reader(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(1 + FINDINGS + FILLERS, 24)
        self.pairs = nn.Sequential(nn.Conv1d(24, 64, 2), nn.GELU())
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(64, 32)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.drop(self.pairs(self.words(ids).transpose(1, 2)).mean(dim=2)))


def toy(seed: int) -> dict[str, float]:
    return {name: _probe(seed, delete=name == WORSE) for name in (BETTER, WORSE)}


def _probe(seed: int, *, delete: bool) -> float:
    draw, model = torch.Generator().manual_seed(seed), Reader(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(400):
        ids, _ = _statements(96, draw)
        views = [F.normalize(model(_deleted(ids, draw) if delete else ids)) for _ in range(2)]
        loss = contrast(views[0] @ views[1].T / 0.1, torch.arange(96)).value()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    (train, known), (test, asked) = _statements(1500, draw), _statements(1500, draw)
    with torch.no_grad():
        x, y = F.normalize(model(train)), F.normalize(model(test))
    x, y = (torch.cat([part, part.new_ones(len(part), 1)], dim=1).double() for part in (x, y))
    weights = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1], dtype=torch.float64), x.T @ known.double())
    found = y @ weights
    areas = []
    for k in range(FINDINGS):
        said = (test == 1 + k).any(dim=1)  # present or denied: negation pairs
        areas.append(auroc(asked[said, k].numpy(), found[said, k].numpy()))
    return sum(areas) / FINDINGS


def _statements(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two findings a text, each denied half the time, among fillers; and which are present, (N, FINDINGS)."""
    ids = 1 + FINDINGS + torch.randint(FILLERS, (count, LENGTH), generator=draw)
    findings = torch.rand(count, FINDINGS, generator=draw).argsort(dim=1)[:, :2]
    denied = torch.rand(count, 2, generator=draw) < 0.5
    present = torch.zeros(count, FINDINGS)
    for place in range(2):
        ids[:, 4 * place] = torch.where(denied[:, place], NO, ids[:, 4 * place])
        ids[:, 4 * place + 1] = 1 + findings[:, place]
        present[torch.arange(count), findings[:, place]] = (~denied[:, place]).float()
    return ids, present


def _deleted(ids: Tensor, draw: torch.Generator) -> Tensor:
    """Each word is another one's place with probability 0.3: deleted, the next ones move up and fillers come last."""
    stays = torch.rand(ids.shape, generator=draw) >= 0.3
    order = (~stays).to(torch.int8).argsort(dim=1, stable=True)
    moved, left = ids.gather(1, order), stays.gather(1, order)
    return torch.where(left, moved, 1 + FINDINGS + torch.randint(FILLERS, ids.shape, generator=draw))
