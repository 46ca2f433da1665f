"""A few samples seen many times: strong views beside the plain ones, and the plain ones alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import Encoded, unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.projection import Projection
from medvlp.models.scale import LogitScale
from medvlp.objectives.clip import Clip
from medvlp.objectives.clip_rocket import ClipRocket
from medvlp.objectives.siamlip import SiamLip

CLAIM = "With few samples the recipe's strong views give better retrieval of unseen pairs than CLIP on plain views."
BETTER, WORSE = "clip_rocket", "clip"
TRAIN, STEPS, CAUSES, WIDTH = 96, 200, 8, 16
_STRONG = ("strong", "second")


def toy(seed: int) -> dict[str, float]:
    """Return recall at 1 among 100 unseen pairs; beside the two, of the recipe with SiamLIP's term."""
    return {name: _trained(name, seed) for name in (BETTER, WORSE, "clip_rocket+siamlip")}


def _trained(name: str, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    mix = {kind: torch.randn(CAUSES, 64, generator=generator) for kind in ("image", "text")}
    towers = {kind: nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)) for kind in mix}
    plain = {kind: nn.Linear(64, WIDTH, bias=False) for kind in mix}
    heads = {kind: _head("pooled", 64) for kind in mix}
    siam = {kind: nn.ModuleList([_head("pooled", 64), _head("siamlip", WIDTH)]) for kind in mix}
    scale = LogitScale()
    rocket, siamlip, clip = ClipRocket(), SiamLip(pairs=_siam_pairs()), Clip()
    modules = [*towers.values(), *plain.values(), *heads.values(), *siam.values(), scale, rocket]
    optimiser = torch.optim.AdamW([p for module in modules for p in module.parameters()], lr=2e-3, weight_decay=0.1)

    def make(count: int) -> dict[str, Tensor]:
        causes = torch.randn(count, CAUSES, generator=generator)
        noise = {kind: 0.8 * torch.randn(count, 64, generator=generator) for kind in mix}
        return {kind: causes @ mix[kind] / CAUSES**0.5 + noise[kind] for kind in mix}

    data, unseen = make(TRAIN), make(100)
    for _ in range(STEPS):
        chosen = torch.randint(TRAIN, (64,), generator=generator).unique()
        owner, parts = torch.arange(len(chosen)), {}
        for kind, values in data.items():
            roles = ("", *(_STRONG if name != WORSE else ()))
            for role in roles:
                x = values[chosen]
                if role:
                    x = x + 0.5 * torch.randn(x.shape, generator=generator)
                view = f"{kind}.{role}" if role else kind
                rows = Encoded(owner=owner, pooled=towers[kind](x))
                parts[f"{view}/embedding"] = unit(plain[kind](rows.pooled))
                parts[f"{view}/rocket"] = heads[kind](rows, "rocket")["rocket"]
                rows = rows.give(siam[kind][0](rows, "siamlip"))
                parts[f"{view}/siamlip"] = rows.part("siamlip")
                parts[f"{view}/siamlip_predicted"] = siam[kind][1](rows, "p")["p"]
        made = {parse_key(key): Part(rows, owner) for key, rows in parts.items()}
        ctx = Context(parts=made, batch=Batch.of({"text": [str(i) for i in chosen.tolist()]}), scale=scale)
        terms = dict((clip if name == WORSE else rocket)(ctx))
        if name.endswith("siamlip"):
            terms |= {f"siam {key}": term for key, term in siamlip(ctx).items()}
        optimiser.zero_grad()
        sum(term.value() for term in terms.values()).backward()
        optimiser.step()
    with torch.no_grad():
        found = {kind: unit(plain[kind](towers[kind](values))) for kind, values in unseen.items()}
        return float(((found["image"] @ found["text"].T).argmax(dim=1) == torch.arange(100)).float().mean())


def _siam_pairs() -> list[tuple[str, str]]:
    return [("image", "text"), *((f"image.{a}", f"text.{b}") for a in _STRONG for b in _STRONG)]


def _head(reads: str, width: int) -> Projection:
    return Projection(in_width=width, embed_dim=WIDTH, reads=reads, hidden=128, norm="batch", stage="batch")
