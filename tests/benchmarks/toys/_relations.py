"""Pictures of two objects, one left of or above the other; of most types a certain other is the usual partner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medvlp.answers.relations import Relations
from medvlp.core import Batch, Column, Context
from medvlp.core.predictions import RelationSet
from medvlp.core.protocols import Objective
from medvlp.measures.relations import Words, prior_of, recalled, with_prior
from medvlp.models.bank import Bank
from medvlp.models.heads.relation_queries import RelationQueries
from tests.benchmarks.toys._drawn import Drawn, Towers, draw, image_parts

TYPES, VERBS = 6, ("left_of", "above")
NAMES = [str(kind) for kind in range(TYPES)]
BANK = Bank("relations", (*NAMES, *VERBS), torch.randn(TYPES + 2, 16, generator=torch.Generator().manual_seed(7)))
BATCH = 16


@dataclass(frozen=True)
class Related:
    """Pictures, and the subject, predicate and object of each."""

    seen: Drawn
    subject: Tensor
    verb: Tensor
    other: Tensor

    def words(self) -> list[list[Words]]:
        """Return the one triplet of each picture."""
        rows = zip(self.subject.tolist(), self.verb.tolist(), self.other.tolist(), strict=True)
        return [[(NAMES[s], VERBS[v], NAMES[o])] for s, v, o in rows]


def related(count: int, generator: torch.Generator) -> Related:
    """Draw pictures; the wider of the two distances between the middles decides which relation holds."""
    first = torch.randint(TYPES, (count,), generator=generator)
    step = torch.where(
        torch.rand(count, generator=generator) < 0.6, 1, torch.randint(1, TYPES, (count,), generator=generator)
    )
    seen = draw(count, 2, generator, types=torch.stack([first, (first + step) % TYPES], dim=1), noise=0.5)
    middle = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
    apart = middle[:, 1] - middle[:, 0]
    verb = (apart[:, 1].abs() > apart[:, 0].abs()).long()
    swapped = apart.gather(1, verb[:, None])[:, 0] < 0
    one, two = seen.types.unbind(1)
    return Related(seen, torch.where(swapped, two, one), verb, torch.where(swapped, one, two))


def batch_of(some: Related, step: int) -> Batch:
    """Return boxes by type, and the matrix of statements."""
    count = len(some.subject)
    owner, matrix = torch.arange(count), torch.full((count, TYPES, 2, TYPES), -1.0)
    matrix[owner, some.subject, some.verb, some.other] = 1.0
    columns = {"image": Column(some.seen.cells, owner), "vector.relations": Column(matrix.flatten(1), owner)}
    for kind in range(TYPES):
        sample, place = (some.seen.types == kind).nonzero(as_tuple=True)
        columns[f"boxes.{kind}"] = Column(some.seen.boxes[sample, place], sample)
    return Batch(tuple(map(str, owner.tolist())), owner + step * count, columns)


def trained(seed: int, objectives: list[Objective], *, steps: int) -> Towers:
    """Train a tower with a head of pairs for batches of 16 pictures."""
    torch.manual_seed(seed)
    generator, model = torch.Generator().manual_seed(seed), Towers()
    shape = {"queries": 4, "width": 32, "layers": 2, "heads": 4, "feedforward": 64, "encoder_layers": 1}
    model.heads["relations"] = RelationQueries(token_width=32, banks={"relations": BANK}, labels=TYPES, **shape)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(steps):
        some = related(BATCH, generator)
        ctx = Context(parts=image_parts(model, some.seen.cells), batch=batch_of(some, step), seed=seed, chunk=True)
        loss = torch.stack([term.value() for each in objectives for term in each(ctx).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def recall(model: Towers, seed: int, *, k: int = 1) -> dict[str, float]:
    """Recall of triplets by their words among the `k` surest of 400 new pictures, and that of the frequency prior."""
    test, training = (related(n, torch.Generator().manual_seed(10_000 * n + seed)) for n in (400, 2000))
    parts = {str(key): part.values for key, part in image_parts(model, test.seen.cells).items()}
    answer, prior = Relations(entities=NAMES, predicates=list(VERBS)), prior_of(training.words())
    hits = {"rlipv2": 0.0, "frequency": 0.0}
    for row, (triplet,) in enumerate(test.words()):
        logits = [parts[f"image/relations_{part}"][row] for part in ("subjects", "objects", "predicates")]
        query, scores, own, triplets = answer._chosen(*logits)
        boxes = parts["image/relations"][row, query]
        found = RelationSet(*(each.double().numpy() for each in (boxes, scores, own)), triplets)
        for name, each in (("rlipv2", found), ("frequency", with_prior(found, prior))):
            hits[name] += recalled(each, triplet, k=k, iou=0.0, sample=None) / len(test.subject)
    return hits
