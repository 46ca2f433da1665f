"""``semdedup``: of records whose embeddings are nearly the same one stays (Abbas et al. 2023)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from medvlp.core.curator import Record, Verdict
from medvlp.core.randomness import seed_of
from medvlp.curation._embedded import Embedded
from medvlp.curation._lowest import Lowest
from medvlp.features.kmeans import kmeans

_PER_CLUSTER = 4096  # a record is compared with so many others, in a millisecond


class Semdedup(Embedded):
    r"""Leave out a record where a near duplicate stays in its place.

    Embeddings are clustered by cosine. Two records of a cluster with a cosine of at least `similarity` (the paper's
    1 - epsilon) are duplicates, and of two duplicates in the pool the one nearer to the cluster's centre goes
    (``near_duplicate``); of equally near ones the seed decides. So no two that stay are duplicates, and of records that
    are alike in a chain one stays at least. A record without an embedding stays. The table lies in memory.

    Args:
        images: table of `medvlp embed`, by record id.
        column: of the embeddings; ``text/embedding`` compares what reports say.
        similarity: from which on two are duplicates; what is right depends on the model that embedded them.
        clusters: duplicates in two clusters are not found; None: one for 4,096 records. The paper's 50,000 are for 440
            million.
        seed: of clusters and choice.

    Raises:
        DataError: if the table lacks the column.

    References:
        Abbas et al. 2023 (SemDeDup), section 3.

    Note:
        Films of two people are more alike than two photographs: look at some pairs above a `similarity` before it
        decides. Copies of one film are told from likes of it by ``medvlp data check``.

    Example:
        >>> import tempfile
        >>> from medvlp.core.table import FeatureTable
        >>> table = Path(tempfile.mkdtemp()) / "table.parquet"
        >>> FeatureTable(["a", "b", "c"], {"image/embedding": np.eye(2)[[0, 1, 1]]}, {}).save(table)
        >>> rule, pool = Semdedup(images=table), [{"id": name} for name in "abc"]
        >>> sorted(rule.apply(record, rule.measure(pool)).reason for record in pool)
        ['', '', 'near_duplicate']
    """

    reads = ("id",)

    def __init__(
        self,
        *,
        images: Path,
        column: str = "image/embedding",
        similarity: Annotated[float, Field(gt=0, le=1)] = 0.99,
        clusters: Annotated[int, Field(ge=1)] | None = None,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.images, self.column, self.similarity = images, column, similarity
        self.clusters, self.seed = clusters, seed

    @cached_property
    def _sorted(self) -> tuple[list[str], dict[str, int], NDArray[np.floating], NDArray[np.int64]]:
        """Return ids, their places, unit rows and where each one's cluster begins: cluster by cluster, outer first."""
        ids, rows, _ = self.embedded(self.images, self.column, "The table's", dtype=np.float32)
        count = min(self.clusters or max(1, len(rows) // _PER_CLUSTER), len(rows))
        found = kmeans(torch.from_numpy(rows), count, spherical=True, restarts=1, seed=self.seed)
        labels = found.labels.numpy()
        centre = (rows * found.centroids.numpy()[labels]).sum(1)
        draws = np.array([seed_of(self.seed, 0, each) for each in ids], np.int64)
        order = np.lexsort((draws, centre, labels))
        ids, begins = [ids[int(i)] for i in order], np.searchsorted(labels[order], labels[order])
        return ids, {each: place for place, each in enumerate(ids)}, rows[order], begins

    def count(self, record: Record) -> Lowest:
        """Note that the record is in the pool."""
        found = Lowest(1, seed=self.seed)
        found.see(str(record["id"]), str(record["id"]))
        return found

    def apply(self, record: Record, counts: Lowest) -> Verdict:
        """Look for a duplicate that stands before the record."""
        ids, places, rows, begins = self._sorted
        place = places.get(str(record["id"]))
        if place is None:
            return Verdict()
        begin = int(begins[place])
        near = np.flatnonzero(rows[begin:place] @ rows[place] >= self.similarity - 1e-6)  # of equal rows it is rounded
        before = (ids[begin + int(i)] for i in near)
        return Verdict("near_duplicate" if any(counts.holds(each, each) for each in before) else "")
