"""Texts become tokens where batches are made: by the workers, once, for each tokenizer that reads them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from medvlp.config.tree import load_config
from medvlp.core.keys import Plan, keys
from medvlp.core.sample import Batch, Sample
from medvlp.data.collate import collate
from medvlp.data.loader import Loader
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.data.views.sentences import Sentences
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.runs.train import Built
from medvlp.text.tokenizers import TokenBatch, tokenise
from tests.models.words import DUAL, HashWords, dual
from tests.tiny import tiny_tree, write_tree
from tests.training.world import CASES, gradients_of, make_task, own_part, whole_batch

if TYPE_CHECKING:
    from medvlp.runs.train import Trained

TEXTS = (
    "no acute findings",
    "effusion",
    "a nodule in the right upper lobe and many more words",
    "",
    "rib fracture left",
)
PLAN = Plan.of(keys("text/embedding", "text/ids", "bank.words/embedding"))


class Counting(HashWords):
    """Counts how often it was called in this process."""

    def __init__(self, vocab_size: int = 64) -> None:
        super().__init__(vocab_size)
        self.calls = 0

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        self.calls += 1
        return super().__call__(texts)


def tokenised(batch: Batch, *words: HashWords) -> Batch:
    column = batch["text"]
    assert not isinstance(column.values, torch.Tensor)
    made = {each.identity: tokenise(each, column.values) for each in words}
    return batch.with_columns({"text": replace(column, tokens=made)})


def texts(words: Sequence[str] = TEXTS) -> Batch:
    return Batch.of({"text": list(words)})


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (1, 2), (2, 5), (3, 4), (0, 5)])
def test_tokens_of_a_chunk_are_those_of_its_own_texts(start: int, stop: int) -> None:
    chunk = tokenised(texts(), HashWords()).take(start, stop)["text"]
    expected, got = tokenise(HashWords(), TEXTS[start:stop]), chunk.tokens[HashWords().identity]
    assert torch.equal(got.ids, expected.ids)
    assert (got.mask is None) == (expected.mask is None)
    assert got.mask is None or torch.equal(got.mask, expected.mask)


def test_workers_tokenise_and_the_training_process_never_does(tmp_path: Path) -> None:
    reports = [f"First fact {i}. Second fact. Third fact of {'many ' * (i % 4)}words." for i in range(10)]
    manifest = Manifest.of({"id": [f"s{i}" for i in range(10)], "text": reports}, root=tmp_path)
    prepared = prepare(manifest, [])
    words = Counting()
    model = build_model(DUAL, tokenizer=words, banks={"words": Bank("words", ("effusion", "nodule"))})
    model(texts(), PLAN)  # a bank's texts are tokenised once, whenever that is
    before = words.calls
    own = {"text": (words,)}
    loader = Loader(prepared, [Sentences()], batch=4, seed=3, workers=2, words=own)
    batches = list(itertools.islice(iter(loader), 5))
    encoded = [model(batch, PLAN)["text"] for batch in batches]
    assert words.calls == before
    here = itertools.islice(iter(Loader(prepared, [Sentences()], batch=4, seed=3, words=own)), 5)
    for batch, made, rows in zip(here, batches, encoded, strict=True):
        assert batch["text"].values == made["text"].values
        assert torch.equal(rows.part("ids"), tokenise(words, batch["text"].values).ids)
    assert words.calls > before


@pytest.mark.parametrize("case", ["all together", "single tower"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_step_on_tokens_is_bit_for_bit_one_on_texts(case: str, chunks: int) -> None:
    found = []
    for batch in (whole_batch(), tokenised(whole_batch(), HashWords())):
        task, root = make_task(*CASES[case], chunks=chunks)
        log = task.backward(batch, dict.fromkeys(task.objectives, 1.0), samples_seen=0)
        found.append((log, gradients_of(root)))
    (log, gradients), (other, others) = found
    assert log == other
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradient, others[name]) for name, gradient in gradients.items())


def test_ids_of_another_vocabulary_are_never_read() -> None:
    """A tower looks for its own tokenizer's ids, and makes them where they did not come with the batch."""
    large = build_model(DUAL, tokenizer=HashWords(vocab_size=128), seed=0)
    plan = Plan.of(keys("text/embedding", "text/ids"))
    batch = tokenised(texts(), HashWords(vocab_size=64))
    assert torch.equal(large(batch, plan)["text"].part("ids"), tokenise(HashWords(vocab_size=128), TEXTS).ids)
    both = tokenised(texts(), HashWords(vocab_size=64), HashWords(vocab_size=128))
    for model in (large, dual()):
        with_ids, without = model(both, plan)["text"], model(texts(), plan)["text"]
        assert torch.equal(with_ids.part("embedding"), without.part("embedding"))


def test_a_bank_that_a_validation_tokenised_can_be_trained_with() -> None:
    model = build_model(DUAL, tokenizer=HashWords(), banks={"words": Bank("words", ("effusion", "nodule"))})
    plan = Plan.of(keys("bank.words/raw"))
    with torch.inference_mode():
        model(texts(), plan)
    model(texts(), plan)["bank.words"].part("raw").sum().backward()
    assert model.towers["text"].word.weight.grad.abs().sum() > 0


def test_a_bank_is_tokenised_once_and_again_by_another_tokenizer_or_with_other_texts() -> None:
    words, plan = Counting(), Plan.of(keys("bank.words/tokens"))
    model = build_model(DUAL, tokenizer=words, banks={"words": Bank("words", ("effusion", "nodule"))})
    before = words.calls
    for _ in range(3):
        model(texts(), plan)
    assert words.calls == before + 1
    model.add_bank(Bank("words", ("effusion", "a nodule or mass")))
    assert model(texts(), plan)["bank.words"].tokens.shape[1] == 4
    words.max_length = 3
    assert model(texts(), plan)["bank.words"].tokens.shape[1] == 3
    assert words.calls == before + 3


def test_texts_that_lost_their_end_are_counted_by_batch() -> None:
    short, long = HashWords(max_length=4), HashWords(max_length=64)
    assert tokenised(texts(), short).truncated == 1
    assert tokenised(texts(), long).truncated == 0
    assert tokenised(texts(), short, long).to(torch.device("cpu")).truncated == 1


@pytest.mark.pool
def test_a_step_tells_how_many_texts_lost_their_end_on_all_processes(pool: Any) -> None:
    assert truncated_in_a_step() == tokenised(whole_batch(), HashWords(max_length=1)).truncated > 2
    assert pool.run(2, truncated_in_a_step) == [truncated_in_a_step()] * 2


def truncated_in_a_step() -> int:
    task, _ = make_task(*CASES["all together"], chunks=2)
    batch = tokenised(own_part(whole_batch()), HashWords(max_length=1))
    return task.backward(batch, dict.fromkeys(task.objectives, 1.0), samples_seen=0).truncated


def test_a_field_that_is_no_text_of_this_batch_is_left_alone() -> None:
    batch = collate([Sample("a", {"label.f": 1.0})], torch.arange(1), words={"text": (HashWords(),)})
    assert set(batch.columns) == {"label.f"}


def test_a_run_s_loader_makes_the_ids_of_its_model_and_of_its_teachers(tiny_run: Trained, tmp_path: Path) -> None:
    """The teacher is a released model with a tokenizer of its own."""
    tree = tiny_tree(tmp_path / "run", tiny_run.manifest.root, tmp_path / "cache")
    tree["tokenizer"] = {"vocab_size": 256, "max_length": 32}
    tree["states"] = {"before": {"name": "frozen", "bundle": str(tiny_run.bundle)}}
    tree["banks"] = {"phrases": {"file": "banks/cxr_phrases.txt"}}
    distill = {"name": "distill", "teacher": "before", "bank": "phrases", "image": "text"}
    tree["phases"][0]["objectives"] = [{"name": "clip"}, distill]
    built = Built(load_config(write_tree(tmp_path / "run.yaml", tree)))
    batch = next(iter(built.setup.phases[0].batches(0)))
    student, teacher = built.parts.model.tokenizer, built.parts.states["before"].model.tokenizer
    assert student.identity != teacher.identity
    assert set(batch["text"].tokens) == {student.identity, teacher.identity}
