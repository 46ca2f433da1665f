"""From loaded weights to a bundle: what is known of a release, how it asks for findings, and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from medvlp.core.files import sha256_of
from medvlp.core.resources import resource
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer
from medvlp.models.card import RESEARCH, ModelCard, fact_list
from medvlp.text.prompt_templates import OwnTexts, expand_templates
from medvlp.text.prompts import PromptSet, load_prompts
from medvlp.text.tokenizers import Tokenizer
from medvlp.zoo._keys import Rules, by_rules
from medvlp.zoo._protocol import load_strictly

_PROMPTS = "zero_shot/cxr_findings_v1.yaml"


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is known of released weights."""

    title: str  # name of the model
    licence: str = ""  # of the weights as their authors state it; empty: they state none, or it is not known
    citation: str = ""  # the paper
    about: str = ""  # further sentences for the card
    recipe: str = ""  # file of ``configs/zero_shot/recipes`` by which it asks for findings; empty: prompt pairs


def zero_shot(release: Release) -> tuple[StoredAnswer, ...]:
    """Return the answer of a model of pairs: by the release's own recipe, or by prompt pairs where it has none."""
    if release.recipe:
        return (asked_by_recipe(release.recipe),)
    plain = [each.plain() for each in load_prompts(resource("configs", _PROMPTS))]
    return (StoredAnswer("zero_shot", "zero_shot", {"prompts": plain}, [str(each["label"]) for each in plain]),)


def asked_by_recipe(name: str) -> StoredAnswer:
    """Return the answer of a recipe's file, its prompts written out."""
    settings: dict[str, Any] = yaml.safe_load(resource("configs", f"zero_shot/recipes/{name}.yaml").read_text("utf-8"))
    if "prompts" in settings:
        sets: Sequence[PromptSet] = load_prompts(resource("configs", settings["prompts"]))
    else:
        given = {
            label: OwnTexts(**{k: tuple(v) for k, v in each.items()}) if isinstance(each, dict) else tuple(each)
            for label, each in settings["findings"].items()
        }
        sets = expand_templates(name, settings.get("templates", {}), given, settings.get("slots"))
    options = {"recipe": settings["recipe"], "prompts": [each.plain() for each in sets], "source": name}
    return StoredAnswer("zero_shot", "zero_shot", options, [each.label for each in sets])


def reworded(answer: StoredAnswer, change: Callable[[str], str]) -> StoredAnswer:
    """Return an answer whose prompts are written as the release writes texts before it reads them."""
    prompts: Any = answer.options["prompts"]
    written = [{k: [change(t) for t in v] if isinstance(v, list) else v for k, v in each.items()} for each in prompts]
    return replace(answer, options={**answer.options, "prompts": written})


def imported(
    spec: Mapping[str, object],
    weights: Mapping[str, Tensor],
    rules: Rules,
    *,
    importer: str,
    source: Path,
    release: Release,
    read: Sequence[Mapping[str, object]],
    tokenizer: Tokenizer | None = None,
    banks: Mapping[str, Bank] | None = None,
    own: Sequence[str] = (),
    finish: Callable[[Any], None] = lambda model: None,
    answers: Sequence[StoredAnswer] | None = None,
    facts: Mapping[str, object] | None = None,
    limits: str = "",
) -> Bundle:
    """Build our model, load foreign weights into it, and return its bundle.

    Args:
        spec: of the model, see `build_model`.
        weights: by foreign name.
        rules: foreign names -> ours; where none gives the logit scale, the model keeps its own.
        importer: its name.
        source: the file of weights.
        release: what is known of it.
        read: views that make pixels of a file as the release does.
        tokenizer: of the text tower.
        banks: texts that its heads ask with.
        own: names of ours that the file does not have.
        finish: what is done to the model once it has its weights.
        answers: what it can be asked; None: zero-shot findings, by the release's recipe or by prompt pairs.
        facts: further provenance.
        limits: sentences for the card: what differs from the release, or could not be checked.

    Raises:
        DataError: if weights are missing, not expected or of another shape.
    """
    model: Any = build_model(spec, tokenizer=tokenizer, banks=banks)
    scale = "logit_scale.log_scale"
    unchanged = [*own, *([] if any(ours == scale for _, ours in rules) else [scale])]
    load_strictly(model, weights, by_rules(rules), source=source, own=unchanged)
    model.eval()
    finish(model)
    asked = zero_shot(release) if answers is None else answers
    licence = release.licence or _licence_beside(source)
    provenance: dict[str, object] = {
        "converted_from": importer,
        "release": release.title,
        "source": source.name,
        "source_sha256": sha256_of(source),
        "licence": licence or "not stated",
        "citation": release.citation or "not stated",
        "synthetic": False,
        **{name: value for name, value in (facts or {}).items() if value not in ((), [], "")},
    }
    words = f"{release.title}. {release.citation}" if release.citation else release.title
    stated = f"Licence of the weights: {licence or 'none is stated; ask their authors before you pass them on'}."
    card = ModelCard(
        name=f"{release.title}, converted",
        prompted=tokenizer is not None,
        tags=[importer.replace("_", "-")],
        licence=licence,
        sections=[
            ("What it is", " ".join(filter(None, (f"{words.rstrip('.')}.", stated, release.about)))),
            ("Use", RESEARCH),
            ("Limits", limits),
            ("Where it comes from", fact_list(provenance)),
        ],
    ).text()
    return Bundle(
        model=model,
        tokenizer=tokenizer,
        preprocessing=list(read),
        answers=tuple(asked),
        provenance=provenance,
        card=card,
    )


def _licence_beside(file: Path) -> str:
    """Return the licence that the card in a folder of the hub's form states; empty where there is none."""
    from huggingface_hub.repocard import metadata_load

    place = file.parent
    if not any((place / name).is_file() for name in ("config.json", "open_clip_config.json")):
        return ""  # a file among others, whose README.md need not be its own
    try:
        card = metadata_load(place / "README.md") or {}
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    stated = card.get("license")
    stated = card.get("license_name", stated) if stated == "other" else stated
    return stated if isinstance(stated, str) else ""
