"""ProtoCLIP (Chen et al. 2023): the clusters of one modality are the classes of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.encoded import unit
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys
from medvlp.core.protocols import HeadSpec, Objective
from medvlp.core.term import Term, Terms
from medvlp.features.space_clusters import soft_labels
from medvlp.models.scale import LogitScale, ScaleOptions
from medvlp.objectives._contrast import contrast
from medvlp.objectives._similarity import Similarity
from medvlp.state.clusters import Clusters


class ProtoClip(Objective):
    r"""Cross entropy of projected rows over prototypes, with targets from the other modality's clusters.

    With z a projected row of the student modality at unit length, y its sample's cluster in the teacher modality, C^T
    the teacher's centroids and C^{T->S} the means of *student* rows in the teacher's clusters (back translation),

        L_S = mean of CE(s z C^{T->S}^T, softmax_j(C^T_y . C^T_j / t)),    L = 1/2 (L_image + L_text),

    s a learned scale of its own. Without back translation the teacher's centroids themselves are the classes. Centroids
    are constants. The external term has hard labels.

    The paper's loss is this and `clip`. It differs from the authors' code: an episode is a stretch of the run's stream
    (theirs draw with replacement), k-means starts by k-means++ (theirs by random rows), an empty cluster takes the
    farthest row, and the output layer of the projections begins at N(0, 1 / fan in).

    Args:
        state: a state `clusters` that reads ``image/HEAD`` and ``text/HEAD``.
        image: view of the images.
        text: view of the texts.
        target_temperature: t; 0 takes y itself as a hard label.
        back_translation: whether prototypes are means of the student's rows.
        external: whether the clusters' external teacher takes part; with back translation only.
        external_weight: of its term.
        skip_empty: leave out prototypes without a row, whose score is 0, from the softmax.
        head: name of the projections; the kinds start with the same weights.
        hidden: width of their hidden layers; None: one linear map, with norm ``none``.
        width: of the projected rows.
        layers: linear layers of a projection with hidden ones.
        norm: of the hidden layers.
        scale: of the scores; held at 1 or above, where it names no `min`, and at its maximum or below.
        field: as in the state.

    Returns:
        ``image`` and ``text``, each at half weight, and ``external_image`` and ``external_text``, each at half the
        external weight.

    Raises:
        ConfigError: for a scale with a bias, or an external teacher without back translation.

    Example:
        >>> sorted(map(str, ProtoClip().needs()))[:3]
        ['image/proto', 'number.cluster_image', 'number.cluster_text']
    """

    def __init__(
        self,
        *,
        state: str = "clusters",
        image: str = "image",
        text: str = "text",
        target_temperature: Annotated[float, Field(ge=0)] = 0.01,
        back_translation: bool = True,
        external: bool = False,
        external_weight: Annotated[float, Field(ge=0)] = 1.0,
        skip_empty: bool = False,
        head: str = "proto",
        hidden: Annotated[int, Field(ge=1)] | None = 2048,
        width: Annotated[int, Field(ge=1)] = 128,
        layers: Annotated[int, Field(ge=2)] = 2,
        norm: Literal["none", "layer", "batch"] = "batch",
        scale: ScaleOptions = ScaleOptions(),  # noqa: B008
        field: str = "cluster",
    ) -> None:
        super().__init__()
        if scale.bias is not None:
            raise ConfigError("scale of objective 'protoclip' has a bias, which a softmax does not see: leave it out.")
        if external and not back_translation:
            raise ConfigError("external of objective 'protoclip' needs back_translation: its centroids are elsewhere.")
        self.state, self.views, self.head, self.field = state, (image, text), head, field
        self.target_temperature, self.skip_empty = target_temperature, skip_empty
        self.back_translation, self.external, self.external_weight = back_translation, external, external_weight
        self.options: dict[str, object] = {"reads": "raw", "hidden": hidden, "width": width, "layers": layers}
        self.options |= {"norm": norm, "bias": True, "stage": "batch"}
        self.scale = LogitScale(init=scale.init, max=scale.max, min=1.0 if scale.min is None else scale.min)

    def needs(self) -> frozenset[Key]:
        """Projected rows and clusters of both views, and the state."""
        spaces = (*self.views, *(["external"] if self.external else []))
        read = [f"{view}/{self.head}" for view in self.views]
        return keys(*read, *(f"number.{self.field}_{space}" for space in spaces), f"state:{self.state}")

    def heads(self) -> Mapping[str, HeadSpec]:
        """A projection for each kind, which start as twins."""
        return {self.head: HeadSpec("projection", self.options, twins=True)}

    def forward(self, ctx: Context) -> Terms:
        """Return the two directions, and the external teacher's."""
        clusters, (image, text) = self._clusters(ctx), self.views
        terms = {}
        for name, student, teacher in (("image", image, text), ("text", text, image)):
            term = self._against(ctx, clusters, student, teacher, temperature=self.target_temperature)
            terms[name] = term.times(0.5)
        if self.external:
            for name, student in (("image", image), ("text", text)):
                term = self._against(ctx, clusters, student, "external", temperature=0)
                terms[f"external_{name}"] = term.times(self.external_weight / 2)
        return terms

    def _against(self, ctx: Context, clusters: Clusters, student: str, teacher: str, *, temperature: float) -> Term:
        """Return the cross entropy of a student's rows over prototypes of a teacher's clusters."""
        rows = unit(ctx[f"{student}/{self.head}"])
        labels = ctx.rows(f"number.{self.field}_{teacher}", f"{student}/{self.head}").one()
        features = student if self.back_translation else teacher
        columns = clusters.centroids(labels_of=teacher, features_of=features).to(rows)
        target = labels.nan_to_num(nan=-1).long()
        if temperature > 0:
            own = clusters.centroids(labels_of=teacher, features_of=teacher)
            target = soft_labels(labels, own, temperature=temperature).to(rows)
        exclude = ~columns.any(dim=1).expand(len(rows), -1) if self.skip_empty else None
        scores = Similarity(rows, columns, lambda rows, columns: rows @ columns.T, self.scale)
        return contrast(scores, target, exclude=exclude)

    def _clusters(self, ctx: Context) -> Clusters:
        clusters = ctx.state[self.state]
        read = {view: f"{view}/{self.head}" for view in self.views}
        if not isinstance(clusters, Clusters) or any(clusters.reads.get(view) != key for view, key in read.items()):
            raise ConfigError(
                f"Objective 'protoclip' needs a state 'clusters' that reads {', '.join(read.values())}: "
                f"states.{self.state} is another."
            )
        return clusters
