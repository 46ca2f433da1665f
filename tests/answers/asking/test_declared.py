"""From objectives and a configuration to answers: what is taught, changed, left out, and refused when built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from medvlp.answers.asking.declared import (
    check_overrides,
    declare,
    declared_by,
    open_answer,
    open_answers,
    stored_answer,
)
from medvlp.answers.findings import Findings
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Plan
from medvlp.core.protocols import Objective
from medvlp.measures import check_choice, first_choice
from medvlp.models.bundle import StoredAnswer
from medvlp.models.scores.late_interaction import LateInteraction
from medvlp.objectives.clip import Clip
from medvlp.objectives.siglip import Siglip
from tests.models.words import dual
from tests.plugins import installed

PROMPTS = [{"name": "v", "label": "edema", "positive": ["edema"], "negative": ["no edema"]}]


def model_of(*objectives: Objective) -> Any:
    model = dual(seed=0)
    for objective in objectives:
        model.mount(objective.heads(), Plan.of(objective.needs()))
    return model


def made(*phases: Sequence[Objective], **overrides: Any) -> Any:
    return declare(phases, overrides, model_of(*(each for phase in phases for each in phase)))


def test_an_objective_teaches_what_it_compares_with_the_score_that_it_trains() -> None:
    clip = Clip(score={"name": "late_interaction", "tile": 64})
    found = made([clip])
    assert list(found) == ["zero_shot", "retrieval"]
    for each in found.values():
        assert each.module is clip.score
        assert each.answer.score is clip.score
        assert each.score == {"name": "late_interaction", "tile": 64}
    assert declared_by([Clip(image="text.findings", text="text.impression")]) == {}


def test_of_one_name_that_of_the_last_phase_counts() -> None:
    first, second = Clip(score="late_interaction"), Siglip()
    assert made([first], [second])["zero_shot"].module is second.score
    assert made([second], [first])["zero_shot"].module is first.score
    # Within a phase the first.
    assert made([first, second])["zero_shot"].module is first.score


def test_a_configuration_changes_adds_and_leaves_out() -> None:
    found = made([Clip()], zero_shot={"prompts": PROMPTS}, retrieval=None, mine={"name": "zero_shot"})
    assert list(found) == ["zero_shot", "mine"]
    assert found["zero_shot"].answer.labels == ("edema",)
    assert len(found["mine"].answer.labels) > 1
    assert (found["mine"].component, found["mine"].name) == ("zero_shot", "mine")
    assert made([Clip()], zero_shot=None, retrieval=None) == {}
    assert list(made([Clip()], report=None)) == ["zero_shot", "retrieval"]  # none to leave out


def test_faulty_options_and_answers_that_the_model_cannot_give_are_refused() -> None:
    for overrides, sentence in (
        ({"zero_shot": {"promts": PROMPTS}}, r"answers\.zero_shot\.promts is not a known key: did you mean 'prompts'"),
        ({"zero_shott": {}}, "There is no answers component named 'zero_shott': did you mean 'zero_shot'"),
        (
            {"mine": {"name": "findngs", "labels": ["a"]}},
            "no answers component named 'findngs': did you mean 'findings'",
        ),
        ({"findings": {}}, r"answers\.findings\.labels is missing: give it a value"),
        ({"existence": {}}, "has no dual_stream head 'medslip' on its image: mount it, or ask another"),
        ({"findings": {"labels": ["edema"]}}, "Need 'image/findings' cannot be computed"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            made([Clip()], **overrides)


class Forgetful(Findings):
    """An answer of another package that releases what its constructor does not take back."""

    def released(self) -> dict[str, object]:
        return {"part": self.part}


class Arrays(Findings):
    """One that releases what no bundle can hold."""

    def released(self) -> dict[str, object]:
        return {"labels": np.array(self.labels)}


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("Forgetful", r"\(answers\.mine\.labels is missing: give it a value\)"),
        ("Arrays", r"\(Object of type ndarray is not JSON serializable\)"),
    ],
)
def test_an_answer_that_no_bundle_could_make_again_is_refused_before_training(kind: str, sentence: str) -> None:
    mine = {"name": "own", "labels": ["edema"], "part": "embedding"}
    with (
        installed(own=f"answers {__name__}:{kind}"),
        pytest.raises(ConfigError, match=rf"a bundle could not make 'own' again from its released\(\) {sentence}"),
    ):
        made([Clip()], mine=mine)


def test_an_answer_that_no_term_trains_is_refused() -> None:
    """The model of a run by late interaction has a projection of the pooled features, and nobody trains it."""
    with pytest.raises(
        ConfigError,
        match=r"answers\.mine reads 'image/embedding', which no term of the recipe trains: leave it out, or",
    ):
        made([Clip(score="late_interaction")], mine={"name": "zero_shot"})
    assert list(made([Clip(score="late_interaction"), Siglip()], mine={"name": "zero_shot"}))[-1] == "mine"
    # A phase that trained it long ago trained it.
    assert "mine" in made([Siglip()], [Clip(score="late_interaction")], mine={"name": "zero_shot"})


def test_what_can_be_known_before_there_is_a_model_is_refused_before() -> None:
    check_overrides({"zero_shot": {"prompts": PROMPTS}, "retrieval": None, "findings": {}, "their_own": {}})
    with pytest.raises(UserError, match=r"no configs file 'zero_shot/none\.yaml'"):
        check_overrides({"zero_shot": {"prompts": "zero_shot/none.yaml"}})
    with pytest.raises(UserError, match=r"no configs file 'zero_shot/none\.yaml'"):
        check_overrides({"mine": {"name": "zero_shot", "prompts": "zero_shot/none.yaml"}})


def test_the_choice_is_one_that_an_answer_gives() -> None:
    answers = {name: each.answer for name, each in made([Clip()], zero_shot={"prompts": PROMPTS}).items()}
    for choice in (
        "zero_shot/auroc",
        "zero_shot/auroc/macro",
        "zero_shot/average_precision/edema",
        "retrieval/recall@5",
    ):
        check_choice(choice, answers)
    for choice, sentence in (
        (
            "findings/auroc",
            r"evaluation\.choose is 'findings/auroc', and no objective teaches 'findings': allowed are .*; or "
            "set it to null, or add that answer under `answers`",
        ),
        ("zero_shot/auc", r"the answer 'zero_shot' is measured by no 'auc' while training: did you mean 'auroc'"),
        ("retrieval/auroc", "the answer 'retrieval' is measured by no 'auroc' while training: "),
        ("zero_shot/auroc/oedema", "'zero_shot' names no finding 'oedema': did you mean 'edema'"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            check_choice(choice, answers)


def test_nobody_chose_the_first_metric_of_an_answer_that_the_data_can_judge() -> None:
    answers = {name: each.answer for name, each in made([Clip()], zero_shot={"prompts": PROMPTS}).items()}
    assert first_choice(answers, ["image", "text", "label.edema"]) == "zero_shot/auroc/macro"
    assert first_choice(answers, ["image", "text", "label.nodule"]) == "retrieval/recall@1"
    assert first_choice({}, ["label.edema"]) is None


def test_what_is_kept_is_opened_with_its_score() -> None:
    clip = Clip(score={"name": "late_interaction", "tile": 64})
    kept = [stored_answer(each) for each in made([clip], zero_shot={"prompts": PROMPTS}).values()]
    assert [(each.name, list(each.labels), dict(each.score or {})) for each in kept] == [
        ("zero_shot", ["edema"], {"name": "late_interaction", "tile": 64}),
        ("retrieval", [], {"name": "late_interaction", "tile": 64}),
    ]
    opened = open_answers(kept)
    assert list(opened) == ["zero_shot", "retrieval"]
    assert opened["zero_shot"].prompts[0].positive == ("edema",)
    assert isinstance(opened["zero_shot"].score, LateInteraction)  # type: ignore[attr-defined]
    assert opened["zero_shot"].score.tile == 64  # type: ignore[attr-defined]


def test_a_bundles_answer_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="There is no answers component named 'future'"):
        open_answer(StoredAnswer("future", "future"))
    with pytest.raises(ConfigError, match=r"answers\.retrieval\.deep is not a known key"):
        open_answer(StoredAnswer("retrieval", "retrieval", {"deep": 1}))
    with pytest.raises(UserError, match="The weights of the score of the answer 'zero_shot' are missing or of another"):
        open_answer(StoredAnswer("zero_shot", "zero_shot", {}, (), {"name": "dot"}, {"w": torch.zeros(1)}))
