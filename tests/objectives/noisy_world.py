"""A step by hand for methods of labels that may be wrong: rows, keys of the teacher, a queue and prototypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from medvlp.core import Batch, Context, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.models.heads.relation import Relation
from medvlp.state.class_prototypes import ClassPrototypes
from medvlp.state.queue import Queue

NAN, WIDTH, RAW = float("nan"), 6, 5
LABELS = {"effusion": [1.0, 0.0, 1.0, NAN, 0.0], "nodule": [0.0, 1.0, NAN, 1.0, 0.0]}
NAMES = list(LABELS)
PAST = 7


def drawn(name: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(map(ord, name))), dtype=torch.float64)


def prototypes(rows: str, **options) -> ClassPrototypes:
    state = ClassPrototypes(labels=NAMES, reads=f"image/{rows}", **options)
    state.prototypes = unit(drawn("prototypes", 2, 2, WIDTH)).float()
    state.seen = torch.tensor([[3, 4], [5, 6]])
    return state


def context(
    rows: str,
    *,
    state: ClassPrototypes | None = None,
    fields: Mapping[str, object] | None = None,
    beside: Mapping[str, Tensor] | None = None,
    owner: Sequence[int] | None = None,
    samples_seen: int = 0,
    past: int = PAST,
) -> Context:
    """Five rows, each of its own sample unless `owner` says otherwise."""
    torch.manual_seed(0)
    of = torch.tensor(list(range(5)) if owner is None else owner)
    values = {
        f"image/{rows}": drawn("z", 5, WIDTH),
        f"ema:image/{rows}": drawn("k", 5, WIDTH),
        "image/findings": drawn("logits", 5, 2),
        f"image/{rows}_back": drawn("back", 5, RAW),
        "image/raw": drawn("raw", 5, RAW),
    }
    size = int(of.max()) + 1
    labels = {f"label.{name}": torch.tensor(each[:size], dtype=torch.float64) for name, each in LABELS.items()}
    queue = Queue(reads=[f"ema:image/{rows}"], size=PAST, beside=list(beside or {}))
    kept = {f"rows|{key}": each for key, each in (beside or {}).items()}
    queue.load_state_dict({f"rows|ema:image/{rows}": unit(drawn("past", past, WIDTH)), **kept} if past else {})
    heads: dict[str, nn.Module] = {
        f"{rows}_low": Prototypes(embed_dim=8, width=WIDTH, prototypes=4).double(),
        "relation": Relation(embed_dim=8, width=WIDTH, hidden=3).double(),
    }
    return Context(
        parts={parse_key(key): Part(each, of) for key, each in values.items()},
        batch=Batch.of({**labels, **(fields or {})}),
        states={"class_prototypes": state or prototypes(rows), "queue": queue},
        heads=heads,
        samples_seen=samples_seen,
    )


def cross_entropy(logit: float, target: float) -> float:
    """Binary, by its definition."""
    p = torch.tensor(logit, dtype=torch.float64).sigmoid()
    return float(-(target * p.log() + (1 - target) * (1 - p).log()))
