"""Prompt sets from templates: ``no {finding}`` and a table of findings, instead of every prompt written out.

A denial made by a template goes wrong where the finding is itself a denial: "no No Finding" asks for the opposite, and
has been published with an AUROC of .07. A label of normality, `no_finding`, therefore brings its own texts both ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from medvlp.core.errors import ConfigError
from medvlp.text.prompts import PromptSet

_SLOT = re.compile(r"\{([A-Za-z_]+)\}")
_SIDE = "side"
_DENIED = re.compile(r"(?:no|not|without|normal|clear)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OwnTexts:
    """Texts of a finding that no template makes.

    Attributes:
        positive: that say it is there.
        negative: that say it is not.
        uncertain: that say it may be there.
        sided: with ``{side}``.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    sided: tuple[str, ...] = ()


def expand_templates(
    name: str,
    templates: Mapping[str, Sequence[str]],
    findings: Mapping[str, Sequence[str] | OwnTexts],
    slots: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> tuple[PromptSet, ...]:
    """Return one prompt set a finding.

    Args:
        name: of the recipe.
        templates: ``positive``, ``negative`` and perhaps ``uncertain`` and ``sided`` -> texts with ``{finding}``, or
            ``{Finding}`` for a capital, and any slots.
        findings: label -> its names, or its own texts.
        slots: label -> slot -> words, for templates that hold more than the finding; every combination is a prompt.

    Raises:
        ConfigError: for a slot without words, a label of normality without its own texts, or an empty side.
    """
    made = []
    for label, names in findings.items():
        if isinstance(names, OwnTexts):
            made.append(PromptSet(name, label, names.positive, names.negative, names.sided, names.uncertain))
            continue
        denied = next((each for each in names if _DENIED.match(each)), None)
        if label == "no_finding" or denied is not None:
            raise ConfigError(
                f"The prompts {name} deny {label!r} by a template, and it is itself a denial ({denied or names[0]!r}): "
                "give it positive and negative texts of its own."
            )
        words = (slots or {}).get(label, {})
        filled = {key: _filled(name, label, templates.get(key, ()), names, words) for key in templates}
        for key in ("positive", "negative"):
            if not filled.get(key):
                raise ConfigError(f"The prompts {name} have no {key} template for {label!r}: add one.")
        sided, uncertain = (filled.get(key, ()) for key in ("sided", "uncertain"))
        made.append(PromptSet(name, label, filled["positive"], filled["negative"], sided, uncertain))
    return tuple(made)


def _filled(
    name: str, label: str, templates: Sequence[str], names: Sequence[str], words: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    texts: dict[str, None] = {}
    for template in templates:
        found = [slot for slot in dict.fromkeys(_SLOT.findall(template)) if slot != _SIDE]
        choices = []
        for slot in found:
            if slot.lower() == "finding":
                choices.append([each[:1].upper() + each[1:] if slot[0] == "F" else each for each in names])
            elif slot in words:
                choices.append(list(words[slot]))
            else:
                raise ConfigError(
                    f"The prompts {name} have the template {template!r}, but {label!r} has no words for "
                    f"{{{slot}}}: add them under slots."
                )
        for chosen in product(*choices):
            text = template
            for slot, word in zip(found, chosen, strict=True):
                text = text.replace(f"{{{slot}}}", word)
            texts[" ".join(text.split())] = None
    return tuple(texts)
