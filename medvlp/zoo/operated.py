"""A bundle after surgery, for release: branches folded, embeddings cut, texts stretched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, load_bundle
from medvlp.models.surgery import operate


def operated(
    *, source: Annotated[Path, FromModel("source")], surgery: Annotated[list[dict[str, Any]], Field(min_length=1)]
) -> Bundle:
    """Change a bundle's model by surgery; what was done stands in its specification, so that it loads like any other.

    Thresholds, calibrations and evidence belong to the model as it was and are left out: `medvlp evaluate ...
    evaluation.into_bundle=true` makes them anew. The gate looks at pixels only and stays.

    Args:
        source: the bundle.
        surgery: components of `models/surgery`, in turn: ``'surgery=[{name: reparameterize}]'``.

    Raises:
        ConfigError: for a surgery that cannot be done to this model.
    """
    before = load_bundle(source)
    model: Any = before.model
    operate(model, surgery)
    model.eval()
    answers = tuple(answer.unjudged() for answer in before.answers)
    # The tokenizer stays that of before: loading does the surgery again, and so stretches it.
    provenance = {**before.provenance, "operated": [str(each["name"]) for each in surgery]}
    return replace(before, answers=answers, sentences=None, provenance=provenance, hash="")
