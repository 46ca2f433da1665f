"""Written reports: a model that knows its pictures by heart, and what cannot write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as PlainTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from medvlp.answers._writer import Writer
from medvlp.answers.report import Report
from medvlp.core.answers import Ask, Rows
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError
from medvlp.core.predictions import Predictions
from medvlp.core.registry import build
from medvlp.core.sample import Batch
from medvlp.core.table import FeatureTable
from medvlp.features.feature_pass import feature_pass
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.task import Task, make_plan
from tests.models.words import DUAL, TEXT, VISION, VIT, HashWords, images
from tests.training.world import FLOAT32

TEXTS = ("no acute findings", "large left effusion and a rib fracture", "nodule in the right upper lobe", "clear lungs")
WORDS = train_wordpiece(TEXTS * 3, vocab_size=128, max_length=16)
PLAIN = {"name": "caption", "width": 32, "layers": 1, "heads": 2}
COCA = {"name": "caption", "part": "captions", "words": "tower", "layers": 1, "heads": 2}
CAUSAL = {"text": {**TEXT, "width": 32, "causal": True, "pool": "last"}}
CAUSAL |= {"heads": {"image/captions": {"name": "pooler", "queries": 3, "heads": 2}}}


def pictures() -> Batch:
    return Batch.of({"image": images(4, 32), "text": list(TEXTS)})


def learned(caption: dict[str, Any], *, batch: Batch | None = None, **changes: Any) -> tuple[Any, Report]:
    """A model that has learnt four reports by heart."""
    shown = pictures() if batch is None else batch
    spec = {**DUAL, "vision": {**VIT, "image_size": 32}, **changes}
    model: Any = build_model(spec, tokenizer=WORDS, seed=3)
    objective = build("objectives", caption, where="x")
    plan = make_plan({"caption": objective}, {})
    model.mount(dict(objective.heads()), plan)
    task = Task(model=model, objectives={"caption": objective}, states={}, seed=0, chunks=1, precision=FLOAT32)
    optimiser = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(120):
        optimiser.zero_grad()
        task.backward(shown, {"caption": 1.0}, samples_seen=0)
        optimiser.step()
    spec_of_answer = objective.answers()[0]
    return model, build("answers", {"name": spec_of_answer.name, **spec_of_answer.options}, where="x")


def said_by(model: Any, answer: Report) -> Predictions:
    answer.check(model)
    table = feature_pass(model, [pictures()], answer.needs(model))
    return answer.answer(Rows(table), Ask(), answer.begin(model, Ask()))


@pytest.mark.parametrize(
    ("caption", "changes"), [(PLAIN, {}), pytest.param(COCA, CAUSAL, marks=pytest.mark.slow)], ids=["caption", "coca"]
)
def test_reports_that_were_learnt_by_heart_are_written_also_by_the_bundle(
    caption: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    model, answer = learned(caption, **changes)
    said = said_by(model, answer)
    assert said.text == TEXTS
    assert said.parts() == ("text",)
    save_bundle(tmp_path / "b", Bundle(model=model, tokenizer=WORDS, preprocessing=[]))
    again = build("answers", {"name": "report", **answer.released()}, where="x")
    assert said_by(load_bundle(tmp_path / "b").model, again).text == TEXTS
    short = build("answers", {"name": "report", **answer.released(), "longest": 2}, where="x")
    assert said_by(model, short).text == ("no acute", "large left", "nodule in", "clear lungs")
    # A picture that is not there has no report, and the others have theirs.
    table = feature_pass(model, [pictures()], answer.needs(model))
    column = table[answer.reads].copy()
    column[1] = np.nan
    rows = Rows(FeatureTable(table.ids, {answer.reads: column}))
    assert answer.answer(rows, Ask(), answer.begin(model, Ask())).text == (TEXTS[0], "", *TEXTS[2:])
    # Beams know it by heart too; drawn at a high temperature a report is another, and its own in any group of pictures.
    assert answer.answer(Rows(table), Ask(decoding=Decoding(beams=3)), answer.begin(model, Ask())).text == TEXTS
    hot = Ask(decoding=Decoding(temperature=20.0, seed=1))
    drawn = answer.answer(Rows(table), hot, answer.begin(model, hot)).text
    assert drawn is not None
    assert drawn != TEXTS
    some = Rows(FeatureTable(table.ids[2:], {answer.reads: table[answer.reads][2:]}))
    assert answer.answer(some, hot, answer.begin(model, hot)).text == drawn[2:]
    always = build("answers", {"name": "report", **answer.released(), "decoding": "temperature=20,seed=1"}, where="x")
    assert said_by(model, always).text == drawn
    assert always.released()["decoding"] == "temperature=20,seed=1"
    # What is given is gone on from.
    writer = Writer.of(model, "captioner")
    memory = torch.from_numpy(table[answer.reads])
    assert writer.write(memory[1:2], after="large left") == ["effusion and a rib fracture"]


def test_the_places_of_a_film_and_its_prior_are_written_from_and_the_slices_of_a_stack_are_not() -> None:
    report, spec = Report(reads="stack/tokens"), {**DUAL, "heads": {"captioner": {"name": "generator"}}}
    pairs = {"name": "biovil_t", "width": 16, "layers": 1, "heads": 2, "slice": VISION}
    report.check(build_model({**spec, "vision": pairs}, tokenizer=WORDS, seed=3))
    heads = {"stack/local": {"name": "projection", "reads": "tokens"}, "stack/six": {"name": "pooler", "queries": 6}}
    slices = {**spec, "vision": {"name": "slices", "slice": VISION}, "heads": {**spec["heads"], **heads}}
    for part in ("tokens", "local"):
        with pytest.raises(ConfigError, match=rf"'stack/{part}' has as many tokens as a stack has slices"):
            Report(reads=f"stack/{part}").check(build_model(slices, tokenizer=WORDS, seed=3))
    Report(reads="stack/six").check(build_model(slices, tokenizer=WORDS, seed=3))


def test_models_that_cannot_write_are_refused() -> None:
    plain: Any = build_model(DUAL, tokenizer=WORDS, seed=3)
    with pytest.raises(ConfigError, match=r"This model has no head 'captioner' beside a text tower"):
        Report().check(plain)
    with pytest.raises(ConfigError, match=r"The head 'image/raw' is a Projection and writes nothing"):
        Report(head="image/raw").check(plain)
    with pytest.raises(ConfigError, match=r"'stack/tokens' has as many tokens as a stack has slices: let the answer"):
        Report(reads="stack/tokens").check(plain)
    mute: Any = build_model({**DUAL, "heads": {"captioner": {"name": "generator"}}}, tokenizer=HashWords(), seed=3)
    with pytest.raises(ConfigError, match=r"The tokenizer HashWords has no start_id, stop_id and decode"):
        Report().check(mute)
    model: Any = build_model({**DUAL, "heads": {"captioner": {"name": "generator"}}}, tokenizer=WORDS, seed=3)
    with pytest.raises(ConfigError, match=r"leaves no room for an answer: raise tokenizer.max_length"):
        Writer.of(model, "captioner").write(torch.zeros(1, 1, 16), after=" ".join(["lung"] * 20))


def test_a_writer_needs_a_tokenizer_that_puts_a_first_and_a_last_token_around_texts() -> None:
    """As those of language models do not by themselves: a text's first word would never be learned, nor its end."""
    level = PlainTokenizer(WordLevel({"<end>": 0, "clear": 1, "lungs": 2, "effusion": 3}, unk_token="<end>"))
    level.pre_tokenizer = Whitespace()
    ends = {"pad_token": "<end>", "bos_token": "<end>", "eos_token": "<end>"}  # all one, as in GPT-2
    inner: Any = PreTrainedTokenizerFast(tokenizer_object=level, **ends)
    spec = {**DUAL, "heads": {"captioner": {"name": "generator"}}}
    bare: Any = build_model(spec, tokenizer=TransformersTokenizer.of(inner, max_length=8), seed=3)
    with pytest.raises(ConfigError, match=r"The tokenizer puts no first and last token around texts"):
        Report().check(bare)
    inner.add_bos_token = inner.add_eos_token = True
    words = TransformersTokenizer.of(inner, max_length=8)
    model: Any = build_model(spec, tokenizer=words, seed=3)
    Report().check(model)
    writer, memory = Writer.of(model, "captioner"), torch.rand(2, 1, 16)
    ids = writer.head.write(memory, None, start=0, stop=0, longest=5)
    assert writer.write(memory, longest=5) == [words.decode([i for i in row if i != 0]) for row in ids.tolist()]


@pytest.mark.slow
def test_the_decoder_writes_what_the_classifier_finds_from_the_threshold_on() -> None:
    """All pictures are the same: only the findings that are told tell the reports apart."""
    caption = {**PLAIN, "findings": ["effusion", "nodule"], "threshold": 0.35}
    alike = Batch.of(
        {
            "image": images(1, 32).expand(4, -1, -1, -1),
            "text": list(TEXTS),
            "label.effusion": torch.tensor([0.0, 1.0, 0.0, 1.0]),
            "label.nodule": torch.tensor([0.0, 0.0, 1.0, 1.0]),
        }
    )
    model, answer = learned(caption, batch=alike)
    assert answer.released() == {
        "head": "captioner",
        "reads": "image/tokens",
        "longest": None,
        "findings": "image/findings",
        "threshold": 0.35,
    }
    answer.check(model)
    table = feature_pass(model, [alike], answer.needs(model))
    share = np.array([[0.34, 0.34], [0.36, 0.34], [0.34, 0.36], [0.36, 0.36]])
    told = FeatureTable(table.ids, {answer.reads: table[answer.reads], "image/findings": np.log(share / (1 - share))})
    assert answer.answer(Rows(told), Ask(), answer.begin(model, Ask())).text == TEXTS
