"""Zero-shot prompt sets: for each label several ways to say yes and several to say no, kept as data.

A score compares the image with the mean of the positive prompts against the mean of the negative ones. Reports rarely
name a finding without its place, so a positive prompt may hold ``{side}`` and then stands for both sides (prompts with
places: Huang et al., GLoRIA, ICCV 2021). Sets are YAML, so that a recipe can be read, hashed and changed without code::

    name: cxr_findings_v1
    sets:
      - label: effusion
        positive: [pleural effusion, There is a pleural effusion., "Small {side} pleural effusion."]
        negative: [no pleural effusion, There is no pleural effusion.]
        sided: ["{side} pleural effusion"]
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from medvlp.core.errors import ConfigError
from medvlp.core.files import plain_yaml

_KEYS = ("label", "positive", "negative", "sided", "uncertain")
_REQUIRED = _KEYS[:3]
_SIDES = ("left", "right")
_BRACES = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts of one label of the recipe `name`.

    `positive` texts say that the finding is there, those with a side once for each; `negative` that it is not;
    `uncertain` that it may be there, empty where the recipe does not ask. `sided` are templates with ``{side}``, for
    scores of left against right; empty where side has no meaning.
    """

    name: str
    label: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    sided: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()

    def on(self, side: str) -> tuple[str, ...]:
        """Return the sided prompts for a side.

        Raises:
            ConfigError: if the label has none.

        Example:
            >>> PromptSet("v1", "effusion", ("effusion",), ("no effusion",), ("{side} effusion",)).on("left")
            ('left effusion',)
        """
        if not self.sided:
            raise ConfigError(
                f"The prompts {self.name} for {self.label!r} have no sided templates: add sided: with {{side}}."
            )
        return tuple(template.replace("{side}", side) for template in self.sided)

    def plain(self) -> dict[str, object]:
        """Return it as a bundle stores it: texts in lists."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def load_prompts(path: str | Path) -> tuple[PromptSet, ...]:
    """Read prompt sets from a YAML file.

    Raises:
        ConfigError: if the file cannot be read, a key is unknown or missing, a list is empty or holds something that is
            no text, a label comes twice, a prompt is both positive and negative, or a template has no ``{side}``.

    Example:
        >>> from medvlp.core.resources import resource
        >>> sets = load_prompts(resource("configs", "zero_shot/cxr_findings_v1.yaml"))
        >>> sets[0].label
        'effusion'
    """
    where = Path(path)
    tree = plain_yaml(where, refused=ConfigError, mend="check the path and mend the syntax there")
    if not isinstance(tree, dict) or set(tree) != {"name", "sets"} or not isinstance(tree["sets"], list):
        raise ConfigError(
            f"The prompt file {where} must have just the keys name and sets, sets being a list: rewrite it so."
        )
    sets = tuple(_prompt_set(where, str(tree["name"]), entry) for entry in tree["sets"])
    labels = [each.label for each in sets]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if not sets or twice:
        what = f"has {', '.join(twice)} twice: keep one set each" if twice else "has no sets: add one for each label"
        raise ConfigError(f"The prompt file {where} {what}.")
    return sets


def named_in(prompts: Sequence[PromptSet], texts: Iterable[str], *, known: Collection[str] = ()) -> frozenset[str]:
    """Return the labels that texts name: some text has all words of the label, or of one of its positive prompts.

    Texts are read only until every label is named; those in `known` count as named.
    """
    found = frozenset(each.label for each in prompts if each.label in known)
    named = ((each.label, text) for each in prompts for text in (each.label.replace("_", " "), *each.positive))
    words = {(label, _words(text)) for label, text in named if label not in found}
    left = iter(texts)
    while words and (text := next(left, None)) is not None:
        there = _words(text)
        found |= {label for label, needed in words if needed <= there}
        words = {(label, needed) for label, needed in words if label not in found}
    return found


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", text.lower()))


def _prompt_set(where: Path, name: str, entry: object) -> PromptSet:
    if not isinstance(entry, dict) or not set(_REQUIRED) <= set(entry) <= set(_KEYS):
        found = ", ".join(map(str, entry)) if isinstance(entry, dict) else repr(entry)
        raise ConfigError(
            f"A set in the prompt file {where} has {found}, but needs label, positive and negative, and may have "
            f"sided and uncertain: mend its keys."
        )
    label = str(entry["label"])
    positive, negative = (_texts(where, label, key, entry) for key in ("positive", "negative"))
    sided, uncertain = (_texts(where, label, key, entry) if key in entry else () for key in ("sided", "uncertain"))
    positive = _filled(where, label, positive)
    both = sorted(set(positive) & set(negative))
    if both:
        raise ConfigError(f"In the prompt file {where} {label} has {both[0]!r} as positive and negative: keep one.")
    for template in sided:
        if _BRACES.findall(template) != ["{side}"]:
            raise ConfigError(
                f"In the prompt file {where} the sided prompt {template!r} of {label} needs {{side}} once."
            )
    return PromptSet(name, label, positive, negative, sided, uncertain)


def _filled(where: Path, label: str, prompts: tuple[str, ...]) -> tuple[str, ...]:
    """Return positive prompts with those of a side written out for both."""
    filled: list[str] = []
    for prompt in prompts:
        if _BRACES.findall(prompt) not in ([], ["{side}"]):
            raise ConfigError(
                f"In the prompt file {where} the positive prompt {prompt!r} of {label} may hold {{side}} once and no "
                f"other braces."
            )
        filled += [prompt.replace("{side}", side) for side in _SIDES] if "{side}" in prompt else [prompt]
    return tuple(filled)


def _texts(where: Path, label: str, key: str, entry: Mapping[str, object]) -> tuple[str, ...]:
    texts = entry[key]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ConfigError(
            f"In the prompt file {where} {key} of {label} must be a list of texts, none empty: quote what YAML would "
            f"read as something else (no, yes, numbers)."
        )
    return tuple(texts)
