"""FoPro (Qin et al. 2022): a few trusted samples set prototypes, and a relation network tells which labels fit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from pydantic import Field

from medvlp.core.context import Context
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Terms
from medvlp.models.heads.relation import Relation
from medvlp.objectives._noisy_labels import NoisyLabels, binary, two_way


class Fopro(NoisyLabels):
    r"""A classifier of cleaned labels, and a relation network that learns which rows belong to which prototype.

    With y the labels that a state `class_prototypes` still believes, z a sample's projected row, mu the prototypes of a
    finding, absent and present, and r a small network over [z; mu],

        classify = BCE(classifier(row), y)
        relation = -log softmax over absent and present of r(z, mu), at y
        instance = -log softmax_j(z . [k; k_1; ...; k_N] / t) at the sample's own key k, k_j the queue's
        rebuilt  = mean square of back(z) - row

    The state uses sigmoid(r) as a learned measure of how well a label fits (`relation` and `clean_by`: ``relation``, or
    ``either`` for the union with its rule). Beside this belong the objective `class_prototypes` with ``temperature:
    density`` and ``margin: 0.5``, which is the prototype term, and in the state `trusted`, the few samples that an
    expert has read, from whose means a refresh begins. The paper's three stages are phases: all but the relation, the
    relation alone (`trainable`), then both with ``clean_by: either``.

    Args:
        labels, view, part, state, teacher, queue, temperature, hidden, width: as in `NoisyLabels`.
        relation: name of the relation network.
        relation_hidden: width of its hidden layer.
        head: name of the projection, and with ``_back`` of the way back.

    Returns:
        ``classify``, ``relation``, ``instance`` and ``rebuilt``.

    Raises:
        ConfigError: if the states are others.

    References:
        Qin et al. 2022, equations 2 to 12. Left out: samples are not admitted by their distance to prototypes, the
        network has one hidden layer, and the row that is drawn again is a constant. Prototypes follow the student's
        rows, in the authors' code the teacher's; a label that the relation alone refuses is dropped, there turned.

    Note:
        The trusted samples say where the prototypes lie, for all sites: taken from one hospital they pull the others'
        studies to its appearance. A handful of them cannot show all forms of a finding. The relation chooses between
        a finding's two prototypes, in the paper among many classes: its score is no sign of pictures of neither.

    Example:
        >>> objective = Fopro(labels=["effusion"])
        >>> sorted(map(str, objective.needs()))[:3], sorted(objective.heads())
        (['ema:image/fopro', 'image/findings', 'image/fopro'], ['findings', 'fopro', 'fopro_back', 'relation'])
    """

    def __init__(
        self,
        *,
        labels: list[str],
        view: str = "image",
        part: str = "findings",
        state: str = "class_prototypes",
        teacher: str = "ema",
        queue: str = "queue",
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        hidden: Annotated[int, Field(ge=1)] = 2048,
        width: Annotated[int, Field(ge=1)] = 128,
        relation: str = "relation",
        relation_hidden: Annotated[int, Field(ge=1)] = 128,
        head: str = "fopro",
    ) -> None:
        states = {"state": state, "teacher": teacher, "queue": queue}
        rows = {"rows": head, "hidden": hidden, "width": width, "temperature": temperature}
        super().__init__(objective="fopro", labels=labels, view=view, part=part, **states, **rows, rebuild=True)
        self.relation = relation
        self._network = {"width": width, "hidden": relation_hidden}

    def heads(self) -> Mapping[str, HeadSpec]:
        """Those that all such methods have, and the relation network."""
        return {**super().heads(), self.relation: HeadSpec("relation", self._network)}

    def forward(self, ctx: Context) -> Terms:
        """Return the terms."""
        state, rows, targets = self.believed(ctx)
        network = cast("Relation", ctx.heads[self.relation])
        founded = state.founded.all(dim=1).to(rows.device)
        prototypes = state.prototypes.to(rows) if founded.any() else rows.new_zeros(*founded.shape, 2, self.width)
        asked = torch.where(founded, targets, torch.nan)
        return {
            "classify": binary(ctx[self.key], targets),
            "relation": two_way(network.scores(rows, prototypes), asked),
            "instance": self.instance(ctx, rows),
            "rebuilt": self.rebuilt(ctx),
        }
