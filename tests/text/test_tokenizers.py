from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as PlainTokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertTokenizerFast, CLIPTokenizer, PreTrainedTokenizerFast

from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.text.mentions import read_report
from medvlp.text.saved_tokenizers import load_tokenizer
from medvlp.text.tokenizers import Tokenizer, TransformersTokenizer, pad_batch, tokenise
from medvlp.text.wordpiece import SPECIAL_TOKENS, WordPieceTokenizer, train_wordpiece

CORPUS = [
    "There is a small left pleural effusion. No pneumothorax.",
    "Moderate right pleural effusion with adjacent atelectasis.",
    "The heart is mildly enlarged. No pulmonary oedema.",
    "Endotracheal tube tip 3.4 cm above the carina.",
] * 3

TRAIN = f"""
import hashlib
from medvlp.text.wordpiece import train_wordpiece
print(hashlib.sha256("\\n".join(train_wordpiece({CORPUS!r}, vocab_size=160).tokens()).encode()).hexdigest())
"""


@pytest.fixture
def wordpiece() -> WordPieceTokenizer:
    return train_wordpiece(CORPUS, vocab_size=400, max_length=32)


@pytest.fixture
def bert_folder(tmp_path: Path, wordpiece: WordPieceTokenizer) -> Path:
    """A tokenizer of transformers, made here: nothing is fetched."""
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(wordpiece.tokens()))
    BertTokenizerFast(str(vocabulary)).save_pretrained(str(tmp_path / "bert"))
    return tmp_path / "bert"


def test_a_vocabulary_of_more_pieces_than_the_corpus_has_is_that_of_all_its_pieces(
    wordpiece: WordPieceTokenizer,
) -> None:
    for most in (10**9, 10**12, 2**64):  # the trainer would reserve memory for each, and end the process
        assert train_wordpiece(CORPUS, vocab_size=most).tokens() == wordpiece.tokens()
    assert set("There is a small left".lower().split()) <= set(wordpiece.tokens())


def test_special_tokens_have_the_first_ids(wordpiece: WordPieceTokenizer) -> None:
    assert wordpiece.tokens()[:5] == SPECIAL_TOKENS == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert (wordpiece.pad_id, wordpiece.cls_id, wordpiece.sep_id, wordpiece.mask_id) == (0, 2, 3, 4)


@pytest.mark.slow
def test_the_same_corpus_gives_the_same_vocabulary_in_every_process_and_order() -> None:
    runs = {
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1
    assert train_wordpiece(CORPUS, vocab_size=160).tokens() == train_wordpiece(CORPUS[::-1], vocab_size=160).tokens()


def test_saved_files_are_the_same_bytes_and_load_as_the_same_tokenizer(
    tmp_path: Path, wordpiece: WordPieceTokenizer
) -> None:
    for name in ("a", "b"):
        train_wordpiece(CORPUS, vocab_size=400, max_length=32).save(tmp_path / name)
    for file in ("tokenizer.json", "tokenizer.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = load_tokenizer(tmp_path / "a")
    assert isinstance(loaded, Tokenizer)
    assert (loaded.name, loaded.max_length, loaded.vocab_size) == ("clinical_wordpiece", 32, wordpiece.vocab_size)
    assert torch.equal(loaded(CORPUS).ids, wordpiece(CORPUS).ids)


def test_words_of_the_corpus_come_back_and_letters_it_never_saw_are_unknown(wordpiece: WordPieceTokenizer) -> None:
    batch = wordpiece(["Small LEFT pleural effusion.", "Öedema 日"])
    assert wordpiece.decode(batch.ids[0][batch.mask[0]].tolist()) == "small left pleural effusion ."
    assert wordpiece.unknown_id in batch.ids[1].tolist()


@pytest.mark.parametrize(
    "report",
    [
        "No effusion. A 1.5 x 0.9 cm nodule, and one of 4.5-mm in the left upper lobe.",
        "A 0.8 to 1.1 cm nodule. There isn't an effusion.",
        "The film doesn't show a pneumothorax. Lungs w/o consolidation.",
        "Can't exclude a small right effusion. There's no change in the left nodule.",
        "Normal heart. Pneumothorax and pleural effusion are absent. Plate-like opacity in the left lung.",
        "1. Right effusion. 2. 12 mm nodule in the left upper lobe.",
    ],
)
def test_what_is_written_is_read_as_the_report_that_it_was_made_of(report: str, tmp_path: Path) -> None:
    """A denial, a size and a doubt are lost in "doesn ' t", "1 . 5 cm" and "can ' t"."""
    own = train_wordpiece([report], vocab_size=200)
    (tmp_path / "vocab.txt").write_text("\n".join(own.tokens()))
    bert = TransformersTokenizer.of(BertTokenizerFast(str(tmp_path / "vocab.txt")), max_length=64)
    texts = [report, *(words.decode(words([report]).ids[0].tolist()) for words in (own, bert))]
    assert len(set(texts)) == 2
    facts = [[(m.finding, m.presence, m.side, m.size_mm, m.change) for m in read_report(text)] for text in texts]
    assert facts[0] == facts[1] == facts[2] != []


def test_numbers_and_denials_of_clips_words_are_whole_again() -> None:
    """CLIP parts each digit from the next, and the end of a denial from its verb."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.',"]
    merges = [("i", "s"), ("is", "n</w>"), ("'", "t</w>"), ("c", "m</w>"), ("m", "m</w>")]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), *ends]
    inner = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges)
    clip = TransformersTokenizer.of(inner, max_length=32)
    assert clip.decode(clip(["Isn't 1.5 cm, 12 mm."]).ids[0].tolist()) == "isn't 1.5 cm , 12 mm ."


def test_a_vocabulary_smaller_than_the_corpus_cuts_words_into_pieces() -> None:
    small = train_wordpiece(CORPUS, vocab_size=80)
    assert small.vocab_size <= 80
    ids = small(["enlarged"]).ids[0]
    assert int((ids > 3).sum()) > 1
    assert small.decode(ids.tolist()) == "enlarged"
    assert small.decode(ids.tolist()[2:]).startswith("##")  # what continues no word stands as it is


def test_no_number_of_a_patient_is_a_word_of_the_vocabulary() -> None:
    report = "MRN 83920114, accession A1234567, seen on 20240131. Nodule of 12 mm, 415 HU at 1430."
    made = train_wordpiece([report] * 3, vocab_size=200)
    assert [word for word in made.tokens() if sum(map(str.isdigit, word)) > 3] == []
    assert {"mrn", "12", "415"} <= set(made.tokens())
    assert made.decode(made([report]).ids[0].tolist()).replace(" ", "") == report.lower().replace(" ", "")
    assert made.unknown_id not in made([report]).ids[0].tolist()


def test_case_is_kept_where_asked_for() -> None:
    cased = train_wordpiece(["Left left"], vocab_size=60, lowercase=False)
    first, second = cased(["Left", "left"]).ids
    assert not torch.equal(first, second)
    folded = train_wordpiece(["Left left"], vocab_size=60)
    first, second = folded(["Left", "left"]).ids
    assert torch.equal(first, second)


def test_batches_are_padded_to_a_multiple_of_eight_and_masked(wordpiece: WordPieceTokenizer) -> None:
    batch = wordpiece(["No pneumothorax.", "There is a small left pleural effusion. No pneumothorax."])
    assert batch.ids.dtype == torch.int64
    assert batch.mask.dtype == torch.bool
    assert batch.ids.shape[1] % 8 == 0
    assert bool((batch.ids[~batch.mask] == wordpiece.pad_id).all())
    assert batch.mask.sum(1).tolist() == [5, 13]
    assert batch.ids[0, 0] == wordpiece.cls_id
    assert batch.ids[0, 4] == wordpiece.sep_id
    assert batch.truncated == 0


def test_what_is_cut_is_counted_and_still_ends_with_the_separator(wordpiece: WordPieceTokenizer) -> None:
    batch = wordpiece(["No effusion. " * 30, "No effusion.", "Left. " * 40])
    assert batch.truncated == 2
    assert batch.ids.shape == (3, 32)
    assert batch.ids[0, -1] == batch.ids[2, -1] == wordpiece.sep_id


def test_reports_longer_than_77_tokens_are_whole_by_default() -> None:
    batch = train_wordpiece(CORPUS)([" ".join(CORPUS)])
    assert batch.truncated == 0
    assert int(batch.mask.sum()) > 77


@given(
    texts=st.lists(
        st.one_of(st.text(max_size=60), st.text("aeio \u0301\u00e9\u4e2d\t\n.-[]SEP", max_size=60)), max_size=4
    )
)
@settings(max_examples=200, deadline=None)
def test_words_one_by_one_are_what_the_tokenizer_makes_of_a_whole_text(texts: list[str]) -> None:
    words = train_wordpiece(CORPUS, vocab_size=400, max_length=256)
    whole = [encoding.ids for encoding in words._inner.encode_batch([*texts, *CORPUS])]
    for _ in range(2):  # the second time from memory
        made = words([*texts, *CORPUS])
        assert [row[mask].tolist() for row, mask in zip(made.ids, made.mask, strict=True)] == whole


def test_no_text_gives_an_empty_batch(wordpiece: WordPieceTokenizer) -> None:
    assert wordpiece([]).ids.shape == (0, 8)
    assert int(wordpiece([""]).mask.sum()) == 2
    assert pad_batch([[7] * 8], pad_id=0, truncated=0).ids.shape == (1, 8)


def test_a_tokenizer_of_transformers_gives_the_same_ids_counts_truncation_and_loads_again(
    tmp_path: Path, bert_folder: Path, wordpiece: WordPieceTokenizer
) -> None:
    bert = TransformersTokenizer(bert_folder, max_length=32)
    assert isinstance(bert, Tokenizer)
    assert torch.equal(bert(CORPUS).ids, wordpiece(CORPUS).ids)
    long = bert(["No effusion. " * 30, "No effusion."])
    assert (long.truncated, long.ids.shape) == (1, (2, 32))
    assert bert([]).ids.shape == (0, 8)
    bert.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert (again.name, again.max_length) == ("transformers", 32)
    assert torch.equal(again(CORPUS).ids, bert(CORPUS).ids)


def test_mistakes_are_told_in_one_sentence(tmp_path: Path, bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="neither a folder here, nor in the local cache, nor could it be fetched"):
        TransformersTokenizer("nobody/no-such-tokenizer")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no tokenizer that transformers can read"):
        TransformersTokenizer(tmp_path / "empty")
    TransformersTokenizer(bert_folder, max_length=32).save(tmp_path / "later")
    told = json.loads((tmp_path / "later" / "tokenizer.json").read_text())
    later = {**told, "normalizer": {"type": "OfALaterVersion"}}  # which tokenizers refuses by a plain Exception
    (tmp_path / "later" / "tokenizer.json").write_text(json.dumps(later))
    with pytest.raises(UserError, match=r"later holds no tokenizer that transformers can read \(Exception\)"):
        TransformersTokenizer(tmp_path / "later")
    with pytest.raises(
        ConfigError, match=r"max_length is 2, but the tokenizer .* adds 2 special tokens .* set it to 3"
    ):
        TransformersTokenizer(bert_folder, max_length=2)
    with pytest.raises(DataError, match=r"no word to learn a vocabulary from"):
        train_wordpiece(["", "  "])
    with pytest.raises(ConfigError, match=r"vocab_size is 10, but special tokens and the corpus' letters alone are"):
        train_wordpiece(CORPUS, vocab_size=10)
    assert train_wordpiece(["ab"], vocab_size=8).tokens()[5:] == ("a", "b", "##b")  # as many as there must be
    with pytest.raises(ConfigError, match=r"max_length is 2, but \[CLS\], \[SEP\] and one word need 3"):
        train_wordpiece(CORPUS, max_length=2)


def test_broken_folders_are_refused(tmp_path: Path, wordpiece: WordPieceTokenizer) -> None:
    with pytest.raises(DataError, match=r"tokenizer.yaml cannot be read as YAML \(No such file"):
        load_tokenizer(tmp_path)
    wordpiece.save(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json cannot be read as a tokenizer"):
        load_tokenizer(tmp_path)
    wordpiece.save(tmp_path)
    rules = json.loads((tmp_path / "tokenizer.json").read_text())
    rules["pre_tokenizer"] = {"type": "Punctuation", "behavior": "Isolated"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(DataError, match=r"has other rules than a WordPiece tokenizer's"):
        load_tokenizer(tmp_path)
    wordpiece.save(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text.replace("[PAD]", "<pad>"))
    with pytest.raises(DataError, match=r"does not begin with \[PAD\]"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump({"name": "other", "max_length": 8}))
    with pytest.raises(DataError, match=r"names the tokenizer 'other', but this version knows"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.yaml").write_text("[]")
    with pytest.raises(DataError, match=r"lacks name or max_length"):
        load_tokenizer(tmp_path)


def test_ids_that_a_tokenizer_leaves_out_count_as_ids_and_continue_no_word() -> None:
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "clear": 4, "lung": 5, "##s": 9}
    inner = PlainTokenizer(WordPiece(words, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    gaps = TransformersTokenizer.of(PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]"), max_length=8)
    assert gaps(["clear lungs"]).ids[0, :3].tolist() == [4, 5, 9]
    assert gaps.vocab_size == 10
    assert gaps.continuing() == [False] * 9 + [True]


def test_a_tokenizer_is_known_by_what_it_makes_of_texts(
    tmp_path: Path, bert_folder: Path, wordpiece: WordPieceTokenizer
) -> None:
    wordpiece.save(tmp_path / "saved")
    same = [train_wordpiece(CORPUS[::-1], vocab_size=400, max_length=32), load_tokenizer(tmp_path / "saved")]
    assert {each.identity for each in same} == {wordpiece.identity}
    bert = TransformersTokenizer(bert_folder, max_length=32)
    before = bert.identity
    bert(["No effusion. " * 30])  # a tokenizer of transformers remembers that it was asked to cut
    assert TransformersTokenizer(bert_folder, max_length=32).identity == bert.identity == before
    bert.save(tmp_path / "first")
    TransformersTokenizer(tmp_path / "first", max_length=32).save(tmp_path / "second")
    assert TransformersTokenizer(tmp_path / "second", max_length=32).identity == before, "wherever its files lie"
    others = [
        train_wordpiece(CORPUS, vocab_size=400, max_length=16),
        train_wordpiece(CORPUS, vocab_size=400, max_length=32, lowercase=False),
        train_wordpiece(CORPUS[:1], vocab_size=400, max_length=32),
        TransformersTokenizer(bert_folder, max_length=16),
        bert,
    ]
    assert len({each.identity for each in (*others, wordpiece)}) == len(others) + 1


def test_tokens_are_no_longer_than_the_longest_text_and_every_text_has_one(wordpiece: WordPieceTokenizer) -> None:
    texts = ["No effusion.", "", "The heart is mildly enlarged."]
    tokens, made = tokenise(wordpiece, texts), wordpiece(texts)
    assert tokens.mask is not None
    assert tokens.ids.shape[1] == int(made.mask.sum(dim=1).max())
    assert torch.equal(tokens.ids[tokens.mask], made.ids[made.mask])
    assert tokenise(wordpiece, texts[:1]).mask is None


def test_room_for_one_word_is_enough_what_fits_exactly_is_not_cut_and_no_special_token_is_a_word() -> None:
    tokenizer = train_wordpiece(["no effusion"], vocab_size=60, max_length=3)
    assert [tokenizer([text]).truncated for text in ("no", "no no")] == [0, 1]
    assert tokenizer.decode(range(5)) == ""
