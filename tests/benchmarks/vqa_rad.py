"""Closed questions of VQA-RAD by five folds of images: what the picture adds to the question.

    OMP_NUM_THREADS=1 python tests/benchmarks/vqa_rad.py OUT --data ../shared/data/vqa-rad

Kernel ridge regression on one column an answer: words of the question (TF-IDF of words and pairs), and their product
with the similarity of pictures in the starter's frozen features, which lets an answer depend on both. Beside it what
must be beaten: the commonest answer of all, the question alone, and the same model shown a black picture. The second
wordings of training questions are learnt from and never judged. Everything is chosen on folds of images inside each
fold. Differences are paired over questions, with intervals over images. Exit 1 where that over the commonest answer
holds 0.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _report import print_report
from scipy.linalg import cho_factor, cho_solve
from sklearn.feature_extraction.text import TfidfVectorizer

from medvlp.data.manifest import Manifest
from medvlp.data.splits import make_split
from medvlp.evaluation.metric_row import mean_metric
from medvlp.features.embed import embed
from medvlp.measures.questions import plain_words
from medvlp.models.bundle import load_model, save_bundle
from medvlp.runs.embed import embed_manifest
from medvlp.runs.index import index_cohort
from medvlp.zoo import convert

SIZE, FOLDS, SEED, RESAMPLES = 320, 5, 0, 2000
RIDGES = (0.3, 1.0, 3.0)
PICTURES = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.3), (3.0, 0.0), (3.0, 0.3))  # weights of words x picture, and picture
REACHES = (0.5, 1.0)  # of the pictures' kernel, over the median distance


@dataclass(frozen=True)
class Rows:
    """Questions, their answers, their pictures' rows, and whether each is judged."""

    questions: np.ndarray
    answers: np.ndarray
    pictures: np.ndarray
    kinds: np.ndarray
    judged: np.ndarray

    def take(self, rows: np.ndarray) -> Rows:
        """Return some."""
        parts = (self.questions, self.answers, self.pictures, self.kinds, self.judged)
        return Rows(*(part[rows] for part in parts))


@dataclass(frozen=True)
class Choice:
    """Options of one fit."""

    ridge: float
    both: float = 0.0
    picture: float = 0.0
    reach: float = 1.0


def read(root: Path) -> tuple[Rows, list[str]]:
    """Return the closed questions, and their pictures' files."""
    cohort = index_cohort("vqa_rad", root, [])
    cohort = cohort.where({"answer_type": ["CLOSED"]})
    images, place = np.unique(cohort.column("image"), return_inverse=True)
    answers = np.array([plain_words(str(text)) for text in cohort.column("text.answer")])
    judged = cohort.column("phrase_type") != "frame"
    columns = (cohort.column("text.question"), answers, place, cohort.column("question_type"), judged)
    return Rows(*map(np.asarray, columns)), images.tolist()


def pictures(out: Path, root: Path, images: Sequence[str]) -> np.ndarray:
    """Return the starter's features of each picture, and of a black one behind them."""
    bundle = out / "starter"
    if not bundle.is_dir():
        options = {"size": SIZE, "stages": 4}
        save_bundle(bundle, convert(Path("efficientnet_lite0"), name="starter", options=options))
    path = out / "features.npy"
    if not path.is_file():
        Manifest.of({"id": images, "image": images}, root=root).save(out / "images.parquet")
        found = embed_manifest(bundle, out / "images.parquet", root=root, workers=0)
        order = {name: row for row, name in enumerate(found.ids)}
        black = embed(load_model(bundle), "image", [torch.zeros(1, SIZE, SIZE)])
        np.save(path, np.concatenate([found["image/embedding"][[order[name] for name in images]], black]))
    return np.load(path).astype(np.float64)


def alike(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Squared distances of all pictures, standardised by known ones, over their median."""
    own = features[known]
    values = (features - own.mean(0)) / (own.std(0) + 1e-6)
    squares = (values**2).sum(1)
    far = np.maximum(squares[:, None] + squares - 2 * values @ values.T, 0)
    return far / np.median(far[np.ix_(known, known)])


def answered(train: Rows, test: Rows, far: np.ndarray, choices: Sequence[Choice], black: bool) -> list[np.ndarray]:
    """Fit each choice; return its answers to the test questions, `black` with the last picture in place of all."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[a-z0-9]+")
    own = words.fit_transform(train.questions)
    same, asked = (own @ own.T).toarray(), (words.transform(test.questions) @ own.T).toarray()
    shown = np.full(len(test.pictures), len(far) - 1) if black else test.pictures
    names, truth = np.unique(train.answers, return_inverse=True)
    targets = np.eye(len(names))[truth]
    mean, found = targets.mean(0), []
    for choice in choices:
        near = np.exp(-far / choice.reach)
        seen, new = near[np.ix_(train.pictures, train.pictures)], near[np.ix_(shown, train.pictures)]
        kernel = same * (1 + choice.both * seen) + choice.picture * seen
        kernel[np.diag_indices(len(kernel))] += choice.ridge
        weights = cho_solve(cho_factor(kernel, check_finite=False), targets - mean, check_finite=False)
        found.append(names[(mean + (asked * (1 + choice.both * new) + choice.picture * new) @ weights).argmax(1)])
    return found


def folds_of(images: int, seed: int, count: int) -> np.ndarray:
    """Return the fold of each picture."""
    ids = [f"{i:05d}" for i in range(images)]
    cohort = Manifest.of({"id": ids, "text": ids}, root=Path())
    rule = {"name": "kfold", "folds": count, "seed": seed, "by": "id", "validation": False}
    parts = [make_split(cohort, rule | {"fold": fold}).parts["test"] for fold in range(count)]
    return np.array([next(fold for fold, part in enumerate(parts) if name in part) for name in ids])


def chosen(train: Rows, far: np.ndarray, choices: Sequence[Choice], fold: np.ndarray) -> Choice:
    """Return what answers most questions of inner folds."""
    right = np.zeros(len(choices))
    for inner in range(3):
        held = fold[train.pictures] == inner
        test = train.take(held & train.judged)
        for at, said in enumerate(answered(train.take(~held), test, far, choices, black=False)):
            right[at] += (said == test.answers).sum()
    return choices[int(right.argmax())]


def judge(rows: Rows, features: np.ndarray) -> tuple[dict[str, np.ndarray], list[dict[str, object]]]:
    """Return whether each judged question was answered rightly, way by way, and what each fold chose."""
    outer, inner = folds_of(len(features) - 1, SEED, FOLDS), folds_of(len(features) - 1, SEED + 1, 3)
    blind = [Choice(ridge) for ridge in RIDGES]
    sees = [Choice(r, *p, reach) for r, p, reach in itertools.product(RIDGES, PICTURES[1:], REACHES)]
    right = {name: np.full(len(rows.answers), np.nan) for name in ("picture", "question", "black", "commonest")}
    usual = Counter(rows.answers[rows.judged]).most_common(1)[0][0]  # of all: no fold's own is better
    told: list[dict[str, object]] = []
    for number in range(FOLDS):
        held = outer[rows.pictures] == number
        train, place = rows.take(~held), held & rows.judged
        test, far = rows.take(place), alike(features, np.flatnonzero(outer != number))
        best = {"question": chosen(train, far, blind, inner), "picture": chosen(train, far, sees, inner)}
        told.append({name: vars(choice) for name, choice in best.items()})
        said = {name: answered(train, test, far, [choice], black=False)[0] for name, choice in best.items()}
        said["black"] = answered(train, test, far, [best["picture"]], black=True)[0]
        said["commonest"] = np.full(len(test.answers), usual)
        for name, each in said.items():
            right[name][place] = each == test.answers
    return {name: each[rows.judged] for name, each in right.items()}, told


def number(values: np.ndarray, pictures: np.ndarray) -> dict[str, object]:
    """Return a mean with its interval over pictures."""
    row = mean_metric("accuracy", "all", values, pictures.astype(str).tolist(), seed=SEED, resamples=RESAMPLES)
    return {
        "value": row.value,
        "low": row.interval.low,
        "high": row.interval.high,
        "n": row.counts.n,
        "images": row.counts.patients,
    }


def main() -> None:
    """Print one line: accuracies, paired differences, and of which kinds of question the picture helps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/vqa-rad"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    rows, images = read(asked.data)
    right, told = judge(rows, pictures(asked.out, asked.data, images))
    judged = rows.take(rows.judged)
    gains = {name: number(right["picture"] - right[name], judged.pictures) for name in right if name != "picture"}
    kinds = {}
    for kind, count in Counter(judged.kinds.tolist()).most_common():
        if count >= 30:
            own = judged.kinds == kind
            gain = number((right["picture"] - right["question"])[own], judged.pictures[own])
            kinds[kind] = {"picture": number(right["picture"][own], judged.pictures[own]), "gain": gain}
    print_report(
        "vqa_rad",
        n={"questions": len(judged.answers), "images": len(np.unique(judged.pictures))},
        packages=("numpy", "scikit-learn", "torch", "timm"),
        seed=SEED,
        cpu_s=time.process_time() - began,
        accuracy={name: number(each, judged.pictures) for name, each in right.items()},
        gains=gains,
        sees=float(gains["question"]["low"]) > 0,  # pyrefly: ignore
        kinds=kinds,
        folds=told,
    )
    raise SystemExit(int(float(gains["commonest"]["low"]) <= 0))  # pyrefly: ignore


if __name__ == "__main__":
    main()
