"""Two numbers of written reports that read no finding: words in common, and whether a report finds its own picture.

They stand beside what reports say (`medvlp.evaluation.report_text`) and not instead: "no effusion" has nearly all words
of "effusion" in common with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from medvlp.statistics.metrics import FloatArray

_BLOCK_ROWS = 1024


def rouge_l(reference: str, written: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of words.

    P = LCS / words written, R = LCS / words of the reference, F = 2 P R / (P + R) (Lin 2004, eq. 2 to 4 with beta 1).

    Example:
        >>> rouge_l("small left pleural effusion", "left effusion")
        0.6666666666666666
    """
    one, other = (re.findall(r"\w+", text.lower()) for text in (reference, written))
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for i, each in enumerate(other):
            row.append(before[i] + 1 if word == each else max(before[i + 1], row[i]))
    return 2 * row[-1] / (len(one) + len(other)) if one and other else 0.0


def finds_own(reports: FloatArray, pictures: FloatArray, patients: Sequence[str], *, k: int) -> FloatArray:
    """Return (S,) 1 where a report's own picture is among the k nearest to it, 0 elsewhere.

    Other pictures of the same patient take no part; of pictures that are as near the own one comes last.

    Args:
        reports: (S, D) unit embeddings of written reports.
        pictures: (S, D) unit embeddings of their pictures.
        patients: (S,).
        k: how many are looked at.

    Example:
        >>> near = np.array([[1.0, 0.0], [1.0, 0.0]])
        >>> finds_own(near, np.array([[1.0, 0.0], [0.0, 1.0]]), ["p", "q"], k=1).tolist()
        [1.0, 0.0]
    """
    _, person = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    distinct, back = np.unique(pictures, axis=0, return_inverse=True)  # a product rounds equal columns by their place
    found = [np.zeros(0)]
    for start in range(0, len(reports), _BLOCK_ROWS):  # never all products at once
        rows = slice(start, start + _BLOCK_ROWS)
        scores = np.take(reports[rows] @ distinct.T, back.ravel(), axis=1)
        own = scores.diagonal(offset=start)[:, None]
        nearer = (scores >= own) & (person[rows, None] != person)
        found.append((nearer.sum(axis=1) < k).astype(float))
    return np.concatenate(found)
