"""Leaks that were planted, leaks that are not there, and the time of comparing hashes; prints JSON lines.

Cohorts: films of two data packs, split by patient; into the test part go copies of training films under other patients'
names: the bytes, resized, compressed, inverted, cropped by up to 5 % a side, all at once; and another film of a
training patient. Packs: every two patients stand on two sides, so that each film is compared with all of others'.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from _report import print_report
from PIL import Image

from medvlp.data.leakage.check import check_cohorts
from medvlp.data.leakage.hashes import nearest_and_like
from medvlp.data.manifest import Manifest

KINDS = ("bytes", "resized", "compressed", "inverted", "cropped", "all")


def films(packs: Path) -> dict[str, list[tuple[Path, str]]]:
    """Image and patient of both packs."""
    nih, kermany = packs / "nih-cxr14", packs / "pneumonia-kermany"
    with open(nih / "Data_Entry_2017_v2020.csv", newline="") as table:
        first = [(nih / "images_001/images" / row["Image Index"], row["Patient ID"]) for row in csv.DictReader(table)]
    with open(kermany / "labels.csv", newline="") as table:
        second = [(kermany / row["path"], row["patient_group"]) for row in csv.DictReader(table)]
    return {"nih-cxr14": first, "pneumonia-kermany": second}


def copy_of(path: Path, kind: str, out: Path, draw: np.random.Generator) -> Path:
    """Write a copy of a film, made in one way."""
    if kind == "bytes":
        out.write_bytes(path.read_bytes())
        return out
    image = Image.open(path).convert("L")
    if kind in ("cropped", "all"):
        # Half of the crops take the full 5 % off some sides and nothing off the others.
        cuts = draw.choice([0, 0.05], 4) if draw.random() < 0.5 else draw.uniform(0, 0.05, 4)
        cuts = cuts if cuts.any() else np.full(4, 0.05)
        wide, high = image.size
        image = image.crop(
            (int(cuts[0] * wide), int(cuts[1] * high), wide - int(cuts[2] * wide), high - int(cuts[3] * high))
        )
    if kind in ("resized", "all"):
        scale = draw.uniform(0.4, 1.25)
        image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS)
    if kind in ("inverted", "all"):
        image = Image.fromarray(255 - np.asarray(image))
    buffer = io.BytesIO()
    if kind in ("compressed", "all"):
        image.save(buffer, "JPEG", quality=int(draw.integers(30, 96)))
    else:
        image.save(buffer, "PNG")
    out.write_bytes(buffer.getvalue())
    return out


def cohort(
    pool: list[tuple[Path, str]], folder: Path, draw: np.random.Generator, *, size: int
) -> tuple[Manifest, dict[tuple[str, str], str]]:
    """Return a split cohort and its planted pairs: (training id, test id) -> kind."""
    chosen = [pool[i] for i in draw.permutation(len(pool))[:size]]
    patients = sorted({patient for _, patient in chosen})
    test = set(draw.permutation(patients)[: len(patients) // 4].tolist())
    rows = [[str(path), path, who, "test" if who in test else "train"] for path, who in chosen]
    train = [row for row in rows if row[3] == "train"]
    planted: dict[tuple[str, str], str] = {}
    sources = [train[i] for i in draw.permutation(len(train))[: len(KINDS) + 1]]
    for kind, source in zip(KINDS, sources[1:], strict=True):
        name = f"{folder.name}-{kind}"
        rows.append([name, copy_of(source[1], kind, folder / f"{kind}.img", draw), f"copy of {kind}", "test"])
        planted[source[0], name] = kind
    # A film under a training patient's name: the patient's own where the pool has one more.
    there = {row[0] for row in rows}
    spare = [path for path, who in pool if str(path) not in there and who == sources[0][2]]
    spare += [path for path, _ in pool if str(path) not in there]
    rows.append([f"{folder.name}-patient", spare[0], sources[0][2], "test"])
    planted["patient", sources[0][2]] = "patient"
    order = draw.permutation(len(rows))
    columns = {
        "id": [rows[i][0] for i in order],
        "image": [str(rows[i][1]).lstrip("/") for i in order],
        "id.patient": [rows[i][2] for i in order],
        "split": [rows[i][3] for i in order],
    }
    return Manifest.of(columns, root=Path("/")), planted


def planted_cohorts(packs: Path, *, count: int, size: int, workers: int) -> None:
    pools = films(packs)
    both = [film for pool in pools.values() for film in pool]
    choices = [*pools.values(), both]
    found: Counter[str] = Counter()
    missed, false, start = [], [], time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        for number in range(count):
            draw = np.random.Generator(np.random.Philox(number))
            folder = Path(work).resolve() / f"cohort-{number}"
            folder.mkdir()
            manifest, planted = cohort(choices[number % 3], folder, draw, size=size)
            leaks = check_cohorts([manifest], workers=workers).leaks
            who = dict(zip(manifest.column("id"), manifest.column("id.patient"), strict=True))
            pairs = {frozenset((leak.a, leak.b)) for leak in leaks if leak.kind in ("image", "near_image")}
            patients = {who[leak.a] for leak in leaks if leak.kind == "patient"}
            for (a, b), kind in planted.items():
                seen = b in patients if a == "patient" else frozenset((a, b)) in pairs
                found[kind] += seen
                if not seen:
                    missed.append({"cohort": number, "kind": kind, "film": a})
            # A copy also matches the exact copies of its film; all else between two patients is false.
            real = {frozenset(pair) for pair in planted}
            false += [
                sorted(map(str, pair)) for pair in pairs if pair not in real and len({who[each] for each in pair}) == 2
            ]
    print_report(
        "leaks/planted",
        n={"cohorts": count, "films": size},
        packages=("numpy", "scipy", "pillow"),
        found=dict(found),
        missed=missed,
        false=false,
        seconds=round(time.perf_counter() - start, 1),
    )


def false_pairs(packs: Path, *, workers: int) -> None:
    for name, pool in films(packs).items():
        columns = {
            "id": [path.name for path, _ in pool],
            "image": [str(path.relative_to(packs)) for path, _ in pool],
            "split": [who for _, who in pool],
        }
        start = time.perf_counter()
        leaks = check_cohorts([Manifest.of(columns, root=packs)], workers=workers).leaks
        sizes = np.array(list(Counter(who for _, who in pool).values()))
        pairs = (len(pool) ** 2 - int((sizes**2).sum())) // 2
        print_report(
            f"leaks/false/{name}",
            n={"films": len(pool), "patients": len(sizes), "pairs of different patients": pairs},
            packages=("numpy", "scipy", "pillow"),
            false=[[leak.a, leak.b, leak.detail] for leak in leaks],
            seconds=round(time.perf_counter() - start, 1),
        )


def hash_speed(*, count: int) -> None:
    draw = np.random.Generator(np.random.Philox(0))
    hashes = draw.standard_normal((count, 64)).astype(np.float32)
    hashes /= np.linalg.norm(hashes, axis=1, keepdims=True)
    sides = draw.integers(0, 10, count)
    start, began = time.perf_counter(), time.process_time()
    proposed = sum(len(a) for a, _ in nearest_and_like(hashes, sides))
    sizes = np.bincount(sides)
    print_report(
        "leaks/hashes",
        n={"hashes": count, "pairs of two sides": (count**2 - int((sizes**2).sum())) // 2},
        packages=("numpy",),
        seconds=round(time.perf_counter() - start, 1),
        processor_seconds=round(time.process_time() - began, 1),
        proposed=proposed,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--packs", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    options.add_argument("--cohorts", type=int, default=100)
    options.add_argument("--films", type=int, default=60)
    options.add_argument("--hashes", type=int, default=100_000)
    options.add_argument("--workers", type=int, default=0)
    chosen = options.parse_args()
    packs = chosen.packs.resolve()
    if not (packs / "nih-cxr14").is_dir():
        sys.exit(f"{packs} has no data packs: name their folder with --packs.")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDVLP_CACHE"] = str(Path(folder) / "cache")
        planted_cohorts(packs, count=chosen.cohorts, size=chosen.films, workers=chosen.workers)
        false_pairs(packs, workers=chosen.workers)
    hash_speed(count=chosen.hashes)


if __name__ == "__main__":
    main()
