"""Reports of findings on the left and on the right, some denied; one side of one finding is never a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.keys import parse_key
from medvlp.objectives.input_label import InputLabel
from medvlp.statistics.metrics import auroc

CLAIM = "Of labels learnt as texts, a new one of known words tells its finding; the nearest trained one does not."
BETTER, WORSE = "its text", "the nearest class"
FINDINGS, FILLERS, LENGTH = 8, 30, 12
NO, LEFT, RIGHT, FIRST = 0, 1, 2, 3  # words; findings follow, then fillers


class Reader(nn.Module):
    """Mean of what each window of three words says."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(FIRST + FINDINGS + FILLERS + 1, 16, padding_idx=FIRST + FINDINGS + FILLERS)
        self.window = nn.Sequential(nn.Conv1d(16, 64, 3, padding=1), nn.GELU(), nn.Conv1d(64, 32, 1))

    def forward(self, ids: Tensor) -> Tensor:
        return F.normalize(self.window(self.words(ids).transpose(1, 2)).amax(dim=2))


def toy(seed: int) -> dict[str, float]:
    draw = torch.Generator().manual_seed(seed)
    seen = [(side, k) for side in (LEFT, RIGHT) for k in range(FINDINGS) if (side, k) != (RIGHT, 0)]
    model, names = Reader(seed), [f"{side}-{k}" for side, k in seen]
    bank = torch.stack([_label(side, k) for side, k in seen])
    objective = InputLabel(bank="labels", labels=names)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(400):
        ids, labels = _reports(64, draw)
        values = {f"label.{name}": labels[pair] for name, pair in zip(names, seen, strict=True)}
        parts = {
            parse_key("text/embedding"): Part(model(ids), torch.arange(64)),
            parse_key("bank.labels/embedding"): Part(model(bank), torch.full((len(bank),), -1)),
        }
        loss = objective(Context(parts=parts, batch=Batch.of(values), scale=_Scale()))["labels"].value()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    ids, labels = _reports(3000, draw)
    truth = labels[RIGHT, 0].numpy()
    with torch.no_grad():
        reports, unseen, nearest = model(ids), model(_label(RIGHT, 0)[None])[0], model(_label(LEFT, 0)[None])[0]
    return {BETTER: auroc(truth, (reports @ unseen).numpy()), WORSE: auroc(truth, (reports @ nearest).numpy())}


class _Scale(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return 10 * scores - 5


def _label(side: int, finding: int) -> Tensor:
    filler = FIRST + FINDINGS + FILLERS
    return torch.tensor([side, FIRST + finding, *[filler] * (LENGTH - 2)])


def _reports(count: int, draw: torch.Generator) -> tuple[Tensor, dict[tuple[int, int], Tensor]]:
    """Three statements of three words each, "no" in front of some, between fillers; what is not stated is absent."""
    ids = FIRST + FINDINGS + torch.randint(FILLERS, (count, LENGTH), generator=draw)
    labels = {(side, k): torch.zeros(count) for side in (LEFT, RIGHT) for k in range(FINDINGS)}
    findings = torch.rand(count, FINDINGS, generator=draw).argsort(dim=1)[:, :3]
    sides = torch.randint(LEFT, RIGHT + 1, (count, 3), generator=draw)
    denied = torch.rand(count, 3, generator=draw) < 0.4
    for place in range(3):
        first = 4 * place
        ids[:, first] = torch.where(denied[:, place], NO, ids[:, first])
        ids[:, first + 1], ids[:, first + 2] = sides[:, place], FIRST + findings[:, place]
        for (side, k), values in labels.items():
            values[(sides[:, place] == side) & (findings[:, place] == k) & ~denied[:, place]] = 1.0
    return ids, labels
