"""From loaded weights to a bundle: what is known of a release, how it asks for findings, and its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medvlp.core.files import sha256_of
from medvlp.core.resources import resource
from medvlp.models.bundle import Bundle, KeptAnswer
from medvlp.models.card import RESEARCH, ModelCard, fact_list
from medvlp.text.prompt_templates import OwnTexts, expand_templates
from medvlp.text.prompts import PromptSet, load_prompts
from medvlp.text.tokenizers import Tokenizer

__all__ = ["Release", "asked_by_recipe", "bundle_of", "reworded", "zero_shot"]

_PROMPTS = "zero_shot/cxr_findings_v1.yaml"


@dataclass(frozen=True, kw_only=True)
class Release:
    """What is known of released weights.

    Attributes:
        title: name of the model.
        licence: of the weights as their authors state it; empty: they state none, or it is not known.
        citation: the paper.
        about: further sentences for the card.
        recipe: file of ``configs/zero_shot/recipes`` by which it asks for findings; empty: prompt pairs.
    """

    title: str
    licence: str = ""
    citation: str = ""
    about: str = ""
    recipe: str = ""


def zero_shot(release: Release) -> tuple[KeptAnswer, ...]:
    """Return the answer of a model of pairs: by the release's own recipe, or by prompt pairs where it has none."""
    if release.recipe:
        return (asked_by_recipe(release.recipe),)
    plain = [_plain(each) for each in load_prompts(resource("configs", _PROMPTS))]
    return (KeptAnswer("zero_shot", "zero_shot", {"prompts": plain}, [str(each["label"]) for each in plain]),)


def asked_by_recipe(name: str) -> KeptAnswer:
    """Return the answer of a recipe's file, its prompts written out."""
    told: dict[str, Any] = yaml.safe_load(resource("configs", f"zero_shot/recipes/{name}.yaml").read_text("utf-8"))
    if "prompts" in told:
        sets: Sequence[PromptSet] = load_prompts(resource("configs", told["prompts"]))
    else:
        given = {
            label: OwnTexts(**{k: tuple(v) for k, v in each.items()}) if isinstance(each, dict) else tuple(each)
            for label, each in told["findings"].items()
        }
        sets = expand_templates(name, told.get("templates", {}), given, told.get("slots"))
    options = {"recipe": told["recipe"], "prompts": [_plain(each) for each in sets], "source": name}
    return KeptAnswer("zero_shot", "zero_shot", options, [each.label for each in sets])


def reworded(answer: KeptAnswer, change: Callable[[str], str]) -> KeptAnswer:
    """Return an answer whose prompts are written as the release writes texts before it reads them."""
    prompts: Any = answer.options["prompts"]
    written = [{k: [change(t) for t in v] if isinstance(v, list) else v for k, v in each.items()} for each in prompts]
    return dataclasses.replace(answer, options={**answer.options, "prompts": written})


def bundle_of(
    model: Any,  # noqa: ANN401  (a model that was just built)
    *,
    importer: str,
    source: Path,
    release: Release,
    read: Sequence[Mapping[str, object]],
    tokenizer: Tokenizer | None = None,
    answers: Sequence[KeptAnswer] = (),
    facts: Mapping[str, object] | None = None,
    limits: str = "",
) -> Bundle:
    """Return the bundle of a model whose weights are loaded.

    Args:
        model: ours.
        importer: its name.
        source: the file of weights.
        release: what is known of it.
        read: views that make pixels of a file as the release does.
        tokenizer: of the text tower.
        answers: what it can be asked.
        facts: further provenance.
        limits: sentences for the card: what differs from the release, or could not be checked.
    """
    model.eval()
    provenance: dict[str, object] = {
        "converted_from": importer,
        "release": release.title,
        "source": source.name,
        "source_sha256": sha256_of(source),
        "licence": release.licence or "not stated",
        "citation": release.citation or "not stated",
        "synthetic": False,
        **{name: value for name, value in (facts or {}).items() if value not in ((), [], "")},
    }
    words = f"{release.title}. {release.citation}" if release.citation else release.title
    stated = (
        f"Licence of the weights: {release.licence or 'none is stated; ask their authors before you pass them on'}."
    )
    card = ModelCard(
        name=f"{release.title}, converted",
        prompted=tokenizer is not None,
        tags=[importer.replace("_", "-")],
        licence=release.licence,
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
        answers=tuple(answers),
        provenance=provenance,
        card=card,
    )


def _plain(prompts: PromptSet) -> dict[str, object]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(prompts).items()}
