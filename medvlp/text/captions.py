"""Labels -> prose: a caption that says of each labelled finding what its label says, and nothing of any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

from medvlp.core.errors import DataError, did_you_mean
from medvlp.text.sentences import indefinite

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")
_FILE = Path(__file__).with_name("captions.yaml")
_TOGETHER = 3  # most findings denied in one breath
_NORMAL = "no_finding"
_NO_DISEASE = frozenset(  # what a study without findings may have
    ("support_devices", "pacemaker", "central_line", "endotracheal_tube", "nasogastric_tube", "chest_tube")
)


@dataclass(frozen=True, slots=True)
class _Words:
    templates: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, str]
    countable: frozenset[str]


@cache
def _words() -> _Words:
    tree = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    templates = {key: tuple(value) for key, value in tree.items() if isinstance(value, list)}
    return _Words(templates, {**tree["countable"], **tree["uncountable"]}, frozenset(tree["countable"]))


def caption_findings() -> tuple[str, ...]:
    """Return the findings that captions have words for, as in the label columns."""
    return (_NORMAL, *_words().phrases)


def caption(labels: Mapping[str, float | None], generator: torch.Generator, *, absent: int = 4) -> str:
    """Write a caption from labels: finding -> 1, 0, -1, None or NaN.

    Every finding that is present (1) or uncertain (-1) gets a sentence; of the absent ones (0) at most `absent` are
    drawn and denied, alone or together. A missing label is not mentioned. ``no_finding`` says that nothing is abnormal
    where it is 1 and no finding but a device is present or uncertain; else it says nothing. The same state of the
    generator gives the same text.

    Raises:
        DataError: if a labelled finding has no words, or a label is another number.

    Example:
        >>> import torch
        >>> caption({"effusion": 1.0, "nodule": 0.0, "edema": None}, torch.Generator().manual_seed(1))
        'There is a pleural effusion. There is no pulmonary nodule.'
    """
    known = {name: value for name, value in labels.items() if value is not None and value == value}
    for name, value in known.items():
        if name not in _words().phrases and name != _NORMAL:
            raise DataError(
                f"The label {name!r} has no words for a caption: {did_you_mean(name, caption_findings())}, or leave it "
                f"out of the findings that captions are made of."
            )
        if value not in (1, 0, -1):
            raise DataError(f"The label {name!r} is {value}, allowed are 1, 0, -1 and nothing: correct the column.")
    stated = [
        _sentence(generator, "present" if value == 1 else "uncertain", name)
        for name, value in known.items()
        if value != 0 and name != _NORMAL
    ]
    if known.get(_NORMAL) == 1 and all(value == 0 or name in {_NORMAL, *_NO_DISEASE} for name, value in known.items()):
        topic = "normal_but_devices" if stated else "normal"
        stated.append(_one_of(_words().templates[topic], generator))
    gone = [name for name, value in known.items() if value == 0 and name != _NORMAL]
    denied = _shuffled(gone, generator)[: max(0, absent)]
    while denied:
        count = min(len(denied), _one_of((1, 2, _TOGETHER), generator))
        group, denied = denied[:count], denied[count:]
        stated.append(_sentence(generator, "absent", *group))
    return " ".join(_shuffled(stated, generator))


def _sentence(generator: torch.Generator, topic: str, *findings: str) -> str:
    words = _words()
    together = len(findings) > 1
    template = _one_of(words.templates["absent_together" if together else topic], generator)
    phrases = [words.phrases[name] for name in findings]
    listed = ", ".join(phrases[:-1]) + " or " + phrases[-1] if together else phrases[0]
    article = f"{indefinite(phrases[0])} " if findings[0] in words.countable else ""
    text = template.replace("{a}", article).replace("{x}", listed).replace("{list}", listed)
    return text[0].upper() + text[1:]


def _one_of(options: Sequence[_T], generator: torch.Generator) -> _T:
    import torch

    return options[int(torch.randint(len(options), (1,), generator=generator))]


def _shuffled(items: Sequence[_T], generator: torch.Generator) -> list[_T]:
    import torch

    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]
