"""Captions with a word for their class among words of no meaning; rewrites keep the class and draw the rest anew."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp.objectives import contrast

CLAIM = "With few captions, four rewrites of each, of the same content, raise zero-shot accuracy."
BETTER, WORSE = "rewrites", "captions"
SAMPLES, CLASSES, WIDTH, WORDS, NUISANCE = 600, 20, 64, 400, 8


def toy(seed: int) -> dict[str, float]:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, WIDTH, generator=draw)
    label = torch.randint(CLASSES, (SAMPLES,), generator=draw)
    image = centres[label] + 2.0 * torch.randn(SAMPLES, WIDTH, generator=draw)
    texts = torch.stack([_captions(label, draw) for _ in range(5)])  # the caption, and four rewrites
    new = torch.randint(CLASSES, (1000,), generator=draw)
    test = centres[new] + 2.0 * torch.randn(1000, WIDTH, generator=draw)
    return {name: _zero_shot(image, texts[:many], test, new, seed) for name, many in ((BETTER, 5), (WORSE, 1))}


def _captions(label: Tensor, draw: torch.Generator) -> Tensor:
    """Words of each caption, (N, 1 + NUISANCE): one of two synonyms of the class, then words that say nothing."""
    own = 2 * label + torch.randint(2, label.shape, generator=draw)
    rest = 2 * CLASSES + torch.randint(WORDS, (len(label), NUISANCE), generator=draw)
    return torch.cat([own[:, None], rest], dim=1)


def _zero_shot(image: Tensor, texts: Tensor, test: Tensor, label: Tensor, seed: int) -> float:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed + 1)
    tower, words = nn.Linear(WIDTH, 32), nn.EmbeddingBag(2 * CLASSES + WORDS, 32, mode="mean")
    optimiser = torch.optim.AdamW([*tower.parameters(), *words.parameters()], lr=1e-2)
    for _ in range(400):
        rows = torch.randperm(SAMPLES, generator=draw)[:128]
        which = torch.randint(len(texts), rows.shape, generator=draw)
        v, t = F.normalize(tower(image[rows])), F.normalize(words(texts[which, rows]))
        scores, own = 10 * v @ t.T, torch.arange(len(rows))
        loss = 0.5 * (contrast(scores, own).value() + contrast(scores.T, own).value())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        prompts = F.normalize(words(torch.arange(2 * CLASSES).view(CLASSES, 2)))
        return (tower(test) @ prompts.T).argmax(dim=1).eq(label).double().mean().item()
