"""SimLAP (Hydra): pairs of unlike classes as positives, each in a subspace of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.class_gate import ClassGate
from medvlp.objectives import contrast
from medvlp.objectives.simlap import Simlap

CLAIM = "Learning from arbitrary pairs of classes leaves features of a higher effective rank than SimCLR does."
BETTER, WORSE = "simlap", "simclr"

CLASSES, SAMPLES, CODE, WIDTH, STEPS = 10, 800, 12, 32, 250
LABELS = [f"f{k}" for k in range(CLASSES)]


def toy(seed: int) -> dict[str, float]:
    """Return the effective rank of each one's features, and beside it how well nearest class means tell the class.

    ``supcon`` is supervised contrast in the whole space, what SimLAP is with each class paired with itself and no gate.
    """
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(SAMPLES) % CLASSES
    content = torch.randn(CLASSES, CODE, generator=draw)[label] + 0.5 * torch.randn(SAMPLES, CODE, generator=draw)
    mixer = torch.randn(2 * CODE, 64, generator=draw)

    def look() -> Tensor:
        return torch.tanh(torch.cat([content, torch.randn(SAMPLES, CODE, generator=draw)], dim=1) @ mixer / 4)

    found = {}
    for name in ("simlap", "simclr", "supcon"):
        tower = _trained(name, look, label, seed)
        with torch.no_grad():
            features = tower(look())
        found[name] = _effective_rank(features)
        found[f"{name}_class_means"] = _class_means(features, label)
    return found


def _trained(name: str, look: Callable[[], Tensor], label: Tensor, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    tower = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, WIDTH))
    projection = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 16))
    gate = ClassGate(embed_dim=16, width=16, classes=CLASSES + 1)
    objective = Simlap(labels=LABELS, views=["image", "image.second"])
    optimiser = torch.optim.AdamW([*tower.parameters(), *projection.parameters(), *gate.parameters()], lr=2e-3)
    draw = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        rows = torch.randperm(SAMPLES, generator=draw)[:64]
        first, second = (projection(tower(look()[rows])) for _ in range(2))
        if name != "simlap":
            same = torch.eye(64, dtype=torch.bool) if name == "simclr" else label[rows][:, None] == label[rows]
            loss = contrast(unit(first) @ unit(second).T / 0.1, same).value()
        else:
            keys = [parse_key("image/simlap"), parse_key("image.second/simlap")]
            parts = {key: Part(values, torch.arange(64)) for key, values in zip(keys, (first, second), strict=True)}
            batch = Batch.of({f"label.f{k}": (label[rows] == k).float() for k in range(CLASSES)}, first=64 * step)
            loss = objective(Context(parts=parts, batch=batch, heads={"simlap_gate": gate}))["pairs"].value()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return tower


def _effective_rank(features: Tensor) -> float:
    """Return the exponential of the entropy of the normalised singular values (Roy and Vetterli 2007)."""
    values = torch.linalg.svdvals(features - features.mean(dim=0))
    share = values / values.sum()
    return float(torch.exp(-share.xlogy(share).sum()))


def _class_means(features: Tensor, label: Tensor) -> float:
    """Return the share of the second half of the samples whose nearest mean of the first half is their class's."""
    half = len(features) // 2
    means = torch.stack([features[:half][label[:half] == k].mean(dim=0) for k in range(CLASSES)])
    nearest = torch.cdist(features[half:], means).argmin(dim=1)
    return float((nearest == label[half:]).float().mean())
