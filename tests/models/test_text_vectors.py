"""Frozen encoders of texts: the same vectors whenever and in whatever company a text is encoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.registry import build
from medvlp.models.text_vectors import TextVectors

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "fluid",
    "in",
    "the",
    "pleural",
    "space",
    "air",
    "a",
    "broken",
    "rib",
]
TEXTS = ("fluid in the pleural space", "air", "a broken rib " * 9)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "tiny-bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained(str(folder))
    return folder


def encode(texts: tuple[str, ...], **spec: object) -> TextVectors:
    return build("models/text_vectors", spec, where="test", given={"texts": texts})


def test_a_language_model_gives_the_first_tokens_last_state(bert: Path) -> None:
    found = encode(TEXTS, name="transformers", path=str(bert), max_length=32)
    model = BertModel.from_pretrained(str(bert)).eval()
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        ids = [2, *(WORDS.index(word) for word in text.split()), 3]
        with torch.no_grad():
            expected = model(torch.tensor([ids])).last_hidden_state[0, 0]
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)
    assert not found.vectors.requires_grad
    assert found.encoder.startswith("transformers tiny-bert cls max_length=32 sha256:")


def test_a_long_text_is_cut_where_it_is_said_and_the_name_tells(bert: Path) -> None:
    long, short = (encode(TEXTS[2:], name="transformers", path=str(bert), max_length=n) for n in (32, 8))
    assert not torch.allclose(long.vectors, short.vectors)
    same = encode(("a broken rib a broken rib",), name="transformers", path=str(bert), max_length=8)
    torch.testing.assert_close(short.vectors, same.vectors)
    assert long.encoder != short.encoder
    assert long.encoder.split("sha256:")[1] == short.encoder.split("sha256:")[1]


def test_hashed_words_are_a_function_of_the_text_alone() -> None:
    alone = encode((TEXTS[0],), name="hashed_words", width=32).vectors
    together = encode(TEXTS, name="hashed_words", width=32).vectors
    assert torch.equal(alone[0], together[0])
    torch.testing.assert_close(together.norm(dim=1), torch.full((3,), 32**0.5))
    assert torch.equal(together[2], encode(("a broken rib",), name="hashed_words", width=32).vectors[0])
    assert not torch.allclose(alone, encode((TEXTS[0],), name="hashed_words", width=32, seed=1).vectors)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The tokenizer .*nothing' is neither a folder here, nor in the local cache"):
        encode(TEXTS, name="transformers", path=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"test\.path is missing: give it a value"):
        encode(TEXTS, name="transformers")
