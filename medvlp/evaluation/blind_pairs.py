"""Questions about pairs of pictures that differ in one fact, by pattern: a benchmark like MMVP for radiographs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.data.manifest import Manifest
from medvlp.evaluation.metric_row import with_interval
from medvlp.evaluation.pair_patterns import PATTERNS, Pattern, values_of
from medvlp.evaluation.results import Counts, Metric
from medvlp.features.blind_pairs import BlindPairs
from medvlp.statistics.pairs import share_of_pairs
from medvlp.text.sentences import capital


def posed_pairs(
    pairs: BlindPairs, manifest: Manifest, *, patterns: Collection[str], words: Mapping[str, str], most: int
) -> pd.DataFrame:
    """Return the questions that pairs allow: of each pattern and finding, each picture in one pair at most.

    Args:
        pairs: in the order in which they are taken.
        manifest: with the truth, ``label.FINDING``, ``side.FINDING`` ...; ids are those of the pairs.
        patterns: names of `PATTERNS`.
        words: finding -> what it is called in a statement; its name where none is given.
        most: pairs of a pattern and finding.

    Returns:
        A row a pair: ``pattern``, ``finding``, rows of the manifest ``first`` and ``second``, cosines ``ours`` and
        ``other``, and ``statements``, the wordings of both.
    """
    place = {str(row): at for at, row in enumerate(manifest.column("id").tolist())}
    sides = np.array([[place[row] for row in side] for side in (pairs.first, pairs.second)], dtype=np.int64)
    rows = []
    for finding in (name.partition(".")[2] for name in manifest.names_of("label")):
        for name in patterns:
            pattern = PATTERNS[name]
            if pattern.only in ("", finding) and (values := values_of(manifest, finding, pattern.column)) is not None:
                named = words.get(finding, finding.replace("_", " "))
                statements = tuple(
                    tuple(capital(each.replace("{it}", named)) for each in side) for side in pattern.statements
                )
                for at, first, second in _fitting(values, sides, pattern, most):
                    rows.append((name, finding, first, second, pairs.ours[at], pairs.other[at], statements))
    return pd.DataFrame(rows, columns=["pattern", "finding", "first", "second", "ours", "other", "statements"])


def _fitting(
    values: NDArray[np.object_], sides: NDArray[np.int64], pattern: Pattern, most: int
) -> list[tuple[int, int, int]]:
    """Return (pair, row of the first value, row of the second) of the first pairs that do, no row twice."""
    is_one, is_other = (np.array([value in wanted for value in values], dtype=bool) for wanted in pattern.values)
    forth = is_one[sides[0]] & is_other[sides[1]]
    back = is_one[sides[1]] & is_other[sides[0]]
    used: set[int] = set()
    found: list[tuple[int, int, int]] = []
    for at in np.flatnonzero(forth | back).tolist():
        first, second = sides[:, at].tolist() if forth[at] else sides[::-1, at].tolist()
        if not {first, second} & used:
            used |= {first, second}
            found.append((at, first, second))
        if len(found) == most:
            break
    return found


def with_scores(
    posed: pd.DataFrame, image: np.ndarray, embed_text: Callable[[Sequence[str]], np.ndarray]
) -> pd.DataFrame:
    r"""Return the questions with what a model answers.

    Statement a is right where cos(x, a) > cos(x', a), with x its own picture and x' the other one, which is the softmax
    over the two pictures at any temperature; a pair is right where both statements are. A tie is wrong. Of several
    wordings the mean vector is compared.

    Args:
        posed: of `posed_pairs`.
        image: (N, D) unit embeddings of the manifest's rows.
        embed_text: texts -> (T, D) unit embeddings.
    """
    texts = sorted({text for both in posed["statements"] for side in both for text in side})
    vectors = dict(zip(texts, np.asarray(embed_text(texts), dtype=np.float64), strict=True))
    image = np.asarray(image, dtype=np.float64)
    scores = [
        [float(image[row] @ np.mean([vectors[text] for text in side], axis=0)) for row in rows for side in both]
        for rows, both in zip(posed[["first", "second"]].to_numpy(), posed["statements"], strict=True)
    ]
    table = np.array(scores).reshape(-1, 4)  # (first, a), (first, b), (second, a), (second, b)
    right = {"right_first": table[:, 0] > table[:, 2], "right_second": table[:, 3] > table[:, 1]}
    return posed.assign(**right, right=right["right_first"] & right["right_second"])


def blind_pair_metrics(answered: pd.DataFrame, patients: Sequence[str], *, split: str = "") -> list[Metric]:
    """Return ``pair_accuracy`` and ``statement_accuracy``, over all pairs and by pattern.

    Chance is 25 % of pairs and 50 % of statements where a model's scores of the two statements have nothing to do with
    each other. One to which both say the same is right in no pair and in half of the statements: below chance means
    that the fact has no place in its text vectors, not that it sees the opposite.

    Args:
        answered: of `with_scores`.
        patients: of the manifest's rows.
        split: written into the rows.
    """
    codes, _ = pd.factorize(np.asarray(patients, dtype=object))
    made = []
    for pattern in (None, *sorted(answered["pattern"].unique())):
        own = answered if pattern is None else answered[answered["pattern"] == pattern]
        first, second = (codes[own[side].to_numpy()] for side in ("first", "second"))
        statements = own[["right_first", "right_second"]].to_numpy(float).mean(axis=1)
        for metric, value, chance in (("pair_accuracy", own["right"], 0.25), ("statement_accuracy", statements, 0.5)):
            share = share_of_pairs(value, first, second)
            row = Metric(
                metric=metric,
                label="blind_pairs",
                value=share.value,
                counts=Counts(n=share.n, patients=share.patients),
                split=split,
                group=None if pattern is None else f"pattern={pattern}",
                policy="none",
                chance=chance,
            )
            found = share.wilson(level=row.interval.level)
            made.append(with_interval(row, found, method="wilson_clustered", form="score"))
    return made
