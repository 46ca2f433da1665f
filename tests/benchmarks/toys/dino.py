"""What no caption names is kept by DINO and not by CLIP: features of one size, read by a linear probe."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.dino import DinoHead
from medvlp.objectives.clip import Clip
from medvlp.objectives.dino import Dino

CLAIM = "An attribute that captions never mention is linearly decodable from DINO's features and not from CLIP's."
BETTER, WORSE = "dino", "clip"
SHAPES, BATCH, STEPS, WIDTH = 6, 96, 500, 8


class _Centre:
    def __init__(self) -> None:
        self.values = torch.zeros(1)

    def centre(self, part: str) -> Tensor:
        return self.values


def toy(seed: int) -> dict[str, float]:
    """Return the accuracy of a linear probe for the attribute, on unseen samples."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    directions = torch.randn(SHAPES + 4, 48, generator=generator)

    def sample(count: int) -> tuple[Tensor, Tensor, Tensor]:
        shape = torch.randint(SHAPES, (count,), generator=generator)
        attribute = torch.randint(4, (count,), generator=generator)
        clean = directions[shape] + 0.7 * directions[SHAPES + attribute]
        return clean, shape, attribute

    def view(clean: Tensor) -> Tensor:
        return clean + 0.7 * torch.randn(clean.shape, generator=generator)

    scores = {}
    for name in (BETTER, WORSE):
        tower = _trained(name, sample, view)
        with torch.no_grad():
            clean, _, attribute = sample(2000)
            features = torch.cat([tower(view(clean)), torch.ones(2000, 1)], dim=1)
            weight = torch.linalg.lstsq(features[:1000], nn.functional.one_hot(attribute[:1000], 4).float()).solution
            found = (features[1000:] @ weight).argmax(dim=1)
        scores[name] = float((found == attribute[1000:]).float().mean())
    return scores


def _trained(
    name: str, sample: Callable[[int], tuple[Tensor, Tensor, Tensor]], view: Callable[[Tensor], Tensor]
) -> nn.Module:
    tower = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, WIDTH))
    head = DinoHead(in_width=WIDTH, hidden=64, bottleneck=16, prototypes=64)
    student, words = nn.Sequential(tower, _Scores(head)), nn.Embedding(SHAPES, WIDTH)
    teacher, centre = copy.deepcopy(student), _Centre()
    optimiser = torch.optim.AdamW([*student.parameters(), *words.parameters()], lr=3e-3)
    owner, views = torch.arange(BATCH), ("image", "image.second")
    dino, clip = Dino(large=views, small=[], prototypes=64), Clip(positives="same_report")
    for _ in range(STEPS):
        clean, shape, _ = sample(BATCH)
        batch = Batch.of({"text": [str(s) for s in shape.tolist()]})
        if name == BETTER:
            looks = {key: view(clean) for key in views}
            parts = {f"{key}/dino": student(look) for key, look in looks.items()}
            with torch.no_grad():
                taught = {f"ema:{key}/dino": teacher(look) for key, look in looks.items()}
            ctx = Context(parts=_parts({**parts, **taught}, owner), batch=batch, states={"ema": centre})
            loss = dino(ctx)["crops"].value()
        else:
            rows = {"image/embedding": unit(tower(view(clean))), "text/embedding": unit(words(shape))}
            terms = clip(Context(parts=_parts(rows, owner), batch=batch, scale=_Ten()))
            taught, loss = {}, sum(term.value() for term in terms.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if taught:
            with torch.no_grad():
                centre.values = 0.9 * centre.values + 0.1 * torch.cat([*taught.values()]).mean(dim=0)
                for own, new in zip(teacher.parameters(), student.parameters(), strict=True):
                    own.lerp_(new, 0.02)
    return tower


def _parts(rows: dict[str, Tensor], owner: Tensor) -> dict:
    return {parse_key(key): Part(values, owner) for key, values in rows.items()}


class _Scores(nn.Module):
    def __init__(self, head: DinoHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, rows: Tensor) -> Tensor:
        return self.head.scores(rows)


class _Ten(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return 10 * scores
