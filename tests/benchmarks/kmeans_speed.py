"""K-means from the same centroids for as many iterations as faiss: the same objective, then time; one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/kmeans_speed.py [--rows 100000] [--clusters 256] [--iterations 10]

Both run in one process on one thread, in turn. faiss may use every row (by itself it takes a sample of them).
"""

from __future__ import annotations

import argparse
from functools import partial

import faiss
import torch
from _report import interleaved_ratio, print_report
from torch import Tensor

from medvlp.features.kmeans import kmeans

WIDTH = 256


def cohort(rows: int) -> Tensor:
    """Return rows (N, 256) around half as many points again as there are clusters, as wide as their distances."""
    draws = torch.Generator().manual_seed(0)
    points = torch.randn(400, WIDTH, generator=draws)
    return points[torch.randint(0, len(points), (rows,), generator=draws)] + torch.randn(rows, WIDTH, generator=draws)


def theirs(rows: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Return faiss's centroids."""
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(rows)}
    found = faiss.Kmeans(WIDTH, len(start), niter=iterations, **limits)
    found.train(rows.numpy(), init_centroids=start.numpy())
    return torch.from_numpy(found.centroids)


def ours(rows: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Return ours."""
    return kmeans(rows, len(start), start=start, iterations=iterations).centroids


def objective(rows: Tensor, centroids: Tensor) -> float:
    """Return the sum of squared distances to the nearest centroid."""
    return sum(
        float(torch.cdist(part, centroids).min(dim=1).values.double().square().sum()) for part in rows.split(4096)
    )


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--clusters", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rows = cohort(options.rows)
    start = rows[: options.clusters].clone()
    works = {name: partial(work, rows, start, options.iterations) for name, work in (("ours", ours), ("faiss", theirs))}
    found = {name: objective(rows, work()) for name, work in works.items()}
    apart = abs(found["ours"] / found["faiss"] - 1)
    if apart > 1e-4:
        raise SystemExit(f"The objectives differ by {apart:.1e}: {found}")
    print_report(
        "kmeans_speed",
        n={"rows": options.rows, "width": WIDTH, "clusters": options.clusters, "iterations": options.iterations},
        packages=("torch", "numpy", "faiss-cpu"),
        objective_apart=apart,
        **interleaved_ratio(works, repeats=options.repeats),
    )


if __name__ == "__main__":
    main()
