"""CLIPPINGS (Arora et al. 2023): records that only image and text together can link."""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.objectives.clippings import Clippings

CLAIM = "The pooled vector links records of identities of which half are ambiguous in the image and half in the text."
BETTER, WORSE = "pooled", "image"

SHARES = {"pooled": 0.5, "image": 1.0, "text": 0.0, "quarter": 0.25, "three_quarters": 0.75}
IDENTITIES, RECORDS, CODE, STEPS = 64, 4, 6, 150


def toy(seed: int) -> dict[str, float]:
    """Train one model at each share of the image; return the adjusted Rand index of unseen identities at its best."""
    draw = torch.Generator().manual_seed(seed)
    mixers = [torch.randn(2 * CODE, 32, generator=draw) for _ in range(2)]
    train, test = (_records(mixers, draw) for _ in range(2))
    return {name: _ari(_trained(train, share, seed), test, share) for name, share in SHARES.items()}


def _records(mixers: list[Tensor], draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return images and texts of the records of fresh identities, in their order: neighbours share one of two codes."""
    codes = torch.randn(2, IDENTITIES, CODE, generator=draw)
    ambiguous = torch.arange(IDENTITIES) // 2 % 2  # 0: in the image, 1: in the text
    for modality in (0, 1):
        second = (torch.arange(IDENTITIES) % 2 == 1) & (ambiguous == modality)
        codes[modality, second] = codes[modality, second.roll(-1)]
    both = []
    for modality, mixer in enumerate(mixers):
        repeated = codes[modality].repeat_interleave(RECORDS, dim=0)
        noise = torch.randn(repeated.shape, generator=draw)
        both.append(torch.tanh(torch.cat([repeated, noise], dim=1) @ mixer / 3))
    return both[0], both[1]


def _trained(records: tuple[Tensor, Tensor], share: float, seed: int) -> nn.ModuleList:
    torch.manual_seed(seed)
    towers = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(2))
    optimiser = torch.optim.AdamW(towers.parameters(), lr=3e-3, weight_decay=1e-3)
    objective, draw = Clippings(image_share=share), torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        identity = torch.randperm(IDENTITIES, generator=draw)[:16].repeat_interleave(RECORDS)
        rows = identity * RECORDS + torch.arange(len(identity)) % RECORDS
        owner = torch.arange(len(rows))
        parts = {
            parse_key(f"{view}/embedding"): Part(unit(tower(values[rows])), owner)
            for view, tower, values in zip(("image", "text"), towers, records, strict=True)
        }
        batch = Batch.of({"id.patient": [str(one) for one in identity.tolist()]})
        loss = objective(Context(parts=parts, batch=batch))["records"].value()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return towers


@torch.no_grad()
def _ari(towers: nn.ModuleList, records: tuple[Tensor, Tensor], share: float) -> float:
    image, text = (unit(tower(values)) for tower, values in zip(towers, records, strict=True))
    tree = linkage(unit(share * image + (1 - share) * text).numpy(), method="single", metric="cosine")
    truth = np.repeat(np.arange(IDENTITIES), RECORDS)
    cuts = np.quantile(tree[:, 2], np.linspace(0.05, 0.99, 60))
    return max(float(adjusted_rand_score(truth, fcluster(tree, cut, criterion="distance"))) for cut in cuts)
