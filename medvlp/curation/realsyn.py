"""``realsyn``: sentences retrieved for images, and no kind of image too often (Gu et al. 2025)."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from medvlp.core.curator import Record, Verdict
from medvlp.core.errors import DataError
from medvlp.core.table import FeatureTable
from medvlp.core.unit import unit_embeddings
from medvlp.curation._embedded import Embedded
from medvlp.curation._lowest import Lowest
from medvlp.data.manifest import Manifest
from medvlp.features.kmeans import kmeans
from medvlp.features.nearest import nearest as nearest_rows
from medvlp.statistics.metrics import FloatArray
from medvlp.text.phrases import tokens_of

_FOREIGN = re.compile(r"https?://|www\.|@\w|[\U0001F300-\U0001FAFF]")


class Realsyn(Embedded):
    r"""Give each image its nearest sentences of a collection, and cap the records of each cluster of images.

    Sentences are those of books, articles or notes that no image was paired with. They are filtered (`worth_keeping`),
    clustered, and searched in two levels: nearest centre to the image by cosine, then the nearest sentences inside that
    cluster. An image gains ``text.retrieved1``, ``text.retrieved2`` ... Images are clustered too, and of each cluster
    `cap` records stay, chosen by the seed; the others are ``common``, one without an embedding is ``no_embedding``.
    Clusters and retrieval are of the two tables as a whole, which lie in memory; counts over records are added up.

    Args:
        images: table of `medvlp embed` with ``image/embedding``, by record id.
        sentences: table with ``text/embedding`` of the same model; None: nothing is retrieved.
        texts: manifest that `sentences` was embedded of, with ``text`` by id; None: the table has a column ``text``.
        nearest: sentences an image.
        cap: records of a cluster.
        image_clusters: the paper's million, for a hundred times as many images.
        sentence_clusters: the paper's two million; 1 is exhaustive search.
        seed: of clusters and choice.

    Raises:
        DataError: if a table lacks a column, or the two are of different widths or models.

    References:
        Gu et al. 2025 (RealSyn), section 3. Perplexity and grammar filters, the texts that a language model merges and
        the bounds on their cosine with the image are left out: they need models that are not here. Sizes are `align`'s
        business, near duplicates `semdedup`'s.

    Note:
        A retrieved sentence is about somebody else: side, size and change are not this patient's. It may teach words
        for what is seen in general, from a textbook; it is no report, and nothing may be evaluated against it.

    Example:
        >>> retrieve(np.eye(2), np.eye(2)[[1, 0, 0]], nearest=1, clusters=1, seed=0).tolist()
        [[1], [0]]
    """

    reads = ("id",)

    def __init__(
        self,
        *,
        images: Path,
        sentences: Path | None = None,
        texts: Path | None = None,
        nearest: Annotated[int, Field(ge=1)] = 3,
        cap: Annotated[int, Field(ge=1)] = 35,
        image_clusters: Annotated[int, Field(ge=1)] = 1000,
        sentence_clusters: Annotated[int, Field(ge=1)] = 1000,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.images, self.sentences, self.texts, self.nearest, self.cap = images, sentences, texts, nearest, cap
        self.image_clusters, self.sentence_clusters, self.seed = image_clusters, sentence_clusters, seed
        self.adds = tuple(f"text.retrieved{i + 1}" for i in range(nearest if sentences else 0))

    @cached_property
    def _embedded(self) -> tuple[dict[str, int], FloatArray, object]:
        ids, rows, model = self.embedded(self.images, "image/embedding", "Image")
        return {each: place for place, each in enumerate(ids)}, rows, model

    @cached_property
    def _cluster(self) -> list[int]:
        rows = torch.from_numpy(self._embedded[1])
        return kmeans(rows, min(self.image_clusters, len(rows)), spherical=True, seed=self.seed).labels.tolist()

    @cached_property
    def _found(self) -> list[list[str]]:
        _, images, model = self._embedded
        if self.sentences is None:
            return [[] for _ in images]
        table = FeatureTable.load(self.sentences)
        if self.texts is not None:
            manifest = Manifest.load(self.texts)
            known = dict(zip(manifest.column("id"), manifest.column("text"), strict=True))
            words = [str(known.get(name) or "") for name in table.ids]
        elif "text" in table.columns:
            words = [str(text) for text in table.columns["text"]]
        else:
            raise DataError(f"{self.sentences} holds no words: name the manifest that was embedded, texts=MANIFEST.")
        chosen = worth_keeping(words)
        if not chosen:
            raise DataError(f"{self.sentences} holds no sentence worth retrieving: give longer ones.")
        rows = unit_embeddings(table.vectors("text/embedding")[chosen], "Sentence").astype(float)
        if rows.shape[1] != images.shape[1] or len({model, table.meta.get("model")} - {None}) > 1:
            raise DataError(
                f"{self.sentences} ({rows.shape[1]} numbers, model {table.meta.get('model')}) and {self.images} "
                f"({images.shape[1]} numbers, model {model}) are of two models: embed both with the same model."
            )
        near = retrieve(images, rows, nearest=self.nearest, clusters=self.sentence_clusters, seed=self.seed)
        return [[words[chosen[i]] for i in row if i >= 0] for row in near]

    def count(self, record: Record) -> Lowest:
        """Count the record in its cluster."""
        found, place = Lowest(self.cap, seed=self.seed), self._embedded[0].get(str(record["id"]))
        if place is not None:
            found.see(str(self._cluster[place]), str(record["id"]))
        return found

    def apply(self, record: Record, counts: Lowest) -> Verdict:
        """Keep the cluster's own, with their sentences."""
        place = self._embedded[0].get(str(record["id"]))
        if place is None:
            return Verdict("no_embedding")
        if not counts.holds(str(self._cluster[place]), str(record["id"])):
            return Verdict("common")
        return Verdict("", dict(zip(self.adds, self._found[place], strict=False)))


def worth_keeping(sentences: list[str], *, information: float = 0.3) -> list[int]:
    """Return the places of sentences of 3 to 81 words, without addresses, once each, that say enough.

    A sentence says enough where -sum p(w) log p(w) over its distinct words is at least `information`, with p the share
    of a word among all words of the collection.

    Example:
        >>> worth_keeping(["No.", "A small effusion is seen on the left.", "See https://a.b for more on it."])
        [1]
    """
    words = [[token.word for token in tokens_of(each) if token.word[0].isalnum()] for each in sentences]
    counts = Counter(word for each in words for word in each)
    total, seen, chosen = sum(counts.values()), set(), []
    for place, (text, own) in enumerate(zip(sentences, words, strict=True)):
        key, shares = " ".join(own), [counts[word] / total for word in set(own)]
        said = -math.fsum(share * math.log(share) for share in shares)  # in any order
        if 3 <= len(own) <= 81 and not _FOREIGN.search(text) and key not in seen and said >= information:
            chosen.append(place)
            seen.add(key)
    return chosen


def retrieve(images: FloatArray, sentences: FloatArray, *, nearest: int, clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the places of the nearest sentences inside the cluster nearest to each image, (N, nearest); -1 for none.

    Args:
        images: (N, D) unit rows.
        sentences: (M, D) unit rows.
        nearest: sentences an image.
        clusters: of the sentences; 1 looks at all of them.
        seed: of the clusters.
    """
    asked, table = torch.from_numpy(images), torch.from_numpy(sentences)
    found = kmeans(table, min(clusters, len(table)), spherical=True, seed=seed)
    there = found.counts.nonzero()[:, 0]  # an empty cluster's centre is 0, nearer than any that lies opposite
    own = there[nearest_rows(asked, found.centroids[there].double(), 1).rows[:, 0]]
    out = torch.full((len(asked), nearest), -1)
    for cluster in own.unique().tolist():
        inside, those = (found.labels == cluster).nonzero()[:, 0], (own == cluster).nonzero()[:, 0]
        near = nearest_rows(asked[those], table[inside], nearest).rows
        out[those, : near.shape[1]] = inside[near]
    return out.numpy()
