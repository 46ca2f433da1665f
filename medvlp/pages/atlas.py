"""A model card for ATLAS, the library of AI models of the Radiological Society of North America (RSNA).

Fields, limits and words are those of RSNA's schema of 2025-11 (github.com/RSNA/ATLAS, ``model.json``), typed here anew;
terms of its ROADMAP ontology that a run cannot know (indexing codes, regulatory status) are left out, never guessed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.core.errors import ConfigError
from medvlp.pages.facts import RESEARCH, facts_of, towers
from medvlp.pages.facts_data import card_facts
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.rows import findings_of, headline_of
from medvlp.pages.summary import summary_of
from medvlp.pages.words import finding

__all__ = ["ATLAS_VERSION", "AtlasCard", "atlas_card"]

ATLAS_VERSION = "2025-11"
_SCHEMA = "https://atlas.rsna.org/schemas/2025-11/model.json"
_MODALITIES = {
    "cxr": "Projection radiography (RID10345)",
    "ct": "Computed tomography (RID10321)",
    "mr": "Magnetic resonance imaging (RID10312)",
}
# Our metric -> the schema's word; all others are "other", once.
_METRICS = {
    "auroc": "area under the receiver operating characteristic curve",
    "average_precision": "average precision",
    "brier": "Brier score",
    "log_loss": "cross-entropy",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "f1": "F1 score",
    "mcc": "Matthews correlation coefficient",
    "net_benefit": "net benefit",
    "cnr": "contrast-to-noise ratio",
    "mean_iou": "mean intersection over union",
    "mean_average_precision": "mean average precision",
}
Term = Annotated[str, Field(min_length=4, max_length=64)]


def _word(name: str) -> str:
    """Return a field's name as the schema spells it: ``"Ethical review"``."""
    return name.replace("_", " ").capitalize()


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, alias_generator=_word)


class License(_Part):
    """Rights to use the model."""

    text: str


class Person(_Part):
    """An author."""

    name: str


class Descriptors(_Part):
    """Who made it, when, under which rights."""

    authors: list[Person] | None = None
    comments: str | None = None
    contact: str | None = None
    ethical_review: str | None = None
    funding: str | None = None
    license: License | None = None
    version: str | None = None


class Indexing(_Part):
    """Words to find it by."""

    keywords: list[Annotated[str, Field(min_length=2, max_length=64)]] | None = None


class Imaging(_Part):
    """Kind of images."""

    modalities: list[str] | None = None
    comments: str | None = None


class Output(_Part):
    """What comes out."""

    description: str


class Uses(_Part):
    """What it is for, and for what it is not."""

    intended: list[Term] | None = None
    excluded: list[Term] | None = None


class Users(_Part):
    """For whom it is."""

    intended: list[Term] | None = None


class Properties(_Part):
    """Properties of the model."""

    architecture: str | None = None
    availability: str | None = None
    decision_threshold: str | None = None
    indications_for_use: str | None = None
    input: str | None = None
    limitations: str | None = None
    output: Output | None = None
    reproducibility: str | None = None
    use: Uses | None = None
    user: Users | None = None


class Performance(_Part):
    """What was measured, and the numbers in words."""

    metrics: list[str]
    comments: str


class Model(_Part):
    """The model; name and link are required."""

    name: str = Field(min_length=4, max_length=256)
    link: str = Field(min_length=4, max_length=256, pattern=r"^[a-z][a-z0-9+.-]*:\S+$")
    indexing: Indexing | None = None
    descriptors: Descriptors | None = None
    model_properties: Properties | None = None
    imaging: Imaging | None = None
    model_performance: Performance | None = None


class AtlasCard(BaseModel):
    """The whole document."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    schema_id: Literal["https://atlas.rsna.org/schemas/2025-11/model.json"] = Field(default=_SCHEMA, alias="$schema")
    model: Model = Field(alias="Model")

    def text(self) -> str:
        """Return the document as JSON; what is not known has no key."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


def atlas_card(inputs: ReportInputs) -> AtlasCard:
    """Return the card of a run.

    Args:
        inputs: of the page; its study tells name and link, which the schema asks for.

    Raises:
        ConfigError: if the study names no link, or a name or link of another form than the schema allows.
    """
    facts, study, record = facts_of(inputs), inputs.study, inputs.record
    if "link" not in study:
        raise ConfigError(
            "An ATLAS card needs a link to the model: write `link: https://...` into a study file and name it by "
            "--study."
        )
    best, data = headline_of(inputs.results), card_facts(record)
    asked = sorted(findings_of(best)) if best is not None else []
    words = dict.fromkeys(
        _METRICS.get(row.metric.partition("@")[0], "other") for result in inputs.results for row in result.metrics
    )
    modality = _MODALITIES.get(data.modality[0]) if data is not None and len(data.modality) == 1 else None
    steps = facts.get("preprocessing")
    seeds = (
        f" Seed of the intervals {record.seed}; hash of the recipe and of the data stand with each result."
        if record
        else ""
    )
    try:
        return AtlasCard(
            model=Model(
                name=study.get("name", inputs.title if record is None else record.model.name),
                link=study["link"],
                indexing=Indexing(keywords=[finding(label)[:64] for label in asked]) if asked else None,
                descriptors=Descriptors(
                    authors=[Person(name=study["authors"])] if "authors" in study else None,
                    contact=study.get("contact"),
                    ethical_review=study.get("ethics"),
                    funding=study.get("funding"),
                    license=License(text=study["licence"]) if "licence" in study else None,
                    version=study.get("version"),
                ),
                model_properties=Properties(
                    architecture=None
                    if record is None
                    else f"{facts.get('technology', towers(record.model.architecture))}",
                    availability=study.get("availability"),
                    decision_threshold=facts.get("output"),
                    indications_for_use=study.get("intended_use", RESEARCH),
                    input=f"Images. {steps}" if steps else None,
                    limitations=facts.get("limitations"),
                    output=Output(description=f"{facts.get('outcome', 'Scores.')} {facts.get('output', '')}".strip()),
                    reproducibility=(facts.get("code_sharing", "") + seeds).strip() or None,
                    use=Uses(intended=["Research"], excluded=["Clinical use"]),
                    user=Users(intended=["Researcher"]),
                ),
                imaging=Imaging(modalities=[modality]) if modality else None,
                model_performance=Performance(
                    metrics=sorted(words),
                    comments=f"{summary_of(inputs.results)} {facts.get('uncertainty', '')}".strip(),
                )
                if inputs.results
                else None,
            )
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"ATLAS ({ATLAS_VERSION}) does not take {where} = {first['input']!r}: {first['msg']}; change it in "
            "the study file."
        ) from None
