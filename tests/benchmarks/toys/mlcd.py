"""Vectors of two out of twenty shapes each, and clusters of frozen features."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier

from medvlp.core import Batch, Context, FeatureTable, Part
from medvlp.core.encoded import unit
from medvlp.core.keys import parse_key
from medvlp.models.heads.prototypes import Prototypes
from medvlp.objectives.mlcd import Mlcd
from medvlp.state.clusters import Clusters

CLAIM = "Of images with two objects two clusters as labels give better features for a linear probe than one."
BETTER, WORSE = "two_labels", "one_label"
KEY, SHAPES = "image/embedding", 20


def toy(seed: int) -> dict[str, float]:
    """Return the mean average precision of a linear probe of all shapes on unseen samples."""
    draws = torch.Generator().manual_seed(seed)
    shapes, x, truth = torch.randn(SHAPES, 64, generator=draws), [], []
    for _ in range(2):
        pairs = torch.rand(1000, SHAPES, generator=draws).argsort(dim=1)[:, :2]
        x.append(shapes[pairs].sum(dim=1) + 2.0 * torch.randn(1000, 64, generator=draws))
        truth.append(torch.zeros(1000, SHAPES).scatter_(1, pairs, 1.0))
    return {"two_labels": _probe(x, truth, 2, seed), "one_label": _probe(x, truth, 1, seed)}


def _probe(x: list[torch.Tensor], truth: list[torch.Tensor], labels: int, seed: int) -> float:
    ids = [str(i) for i in range(1000)]
    clusters = Clusters(reads=[KEY], clusters=40, nearest=labels, spherical=True, seed=seed)
    clusters.refresh(FeatureTable(ids, {KEY: x[0].numpy()}))
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
    head = Prototypes(embed_dim=16, prototypes=40)
    objective = Mlcd(classes=40, sampled=0.3, scale=8.0, field=f"{'vector' if labels > 1 else 'number'}.cluster_image")
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
    for step in range(300):
        index = torch.randperm(1000)[:128]
        batch = clusters.extend(Batch(tuple(ids[i] for i in index.tolist()), index, {}))
        parts = {parse_key(KEY): Part(unit(net(x[0][index])), torch.arange(128))}
        ctx = Context(parts=parts, batch=batch, heads={"mlcd": head}, states={"clusters": clusters}, samples_seen=step)
        optimiser.zero_grad()
        objective(ctx)["clusters"].value().backward()
        optimiser.step()
        head.after_step(0)
    with torch.no_grad():
        train, test = (unit(net(each)).numpy() for each in x)
    probe = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=300)).fit(train, truth[0].numpy())
    return float(np.mean(average_precision_score(truth[1].numpy(), probe.decision_function(test), average="macro")))
