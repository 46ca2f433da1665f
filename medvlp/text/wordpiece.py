"""The tokenizer ``clinical_wordpiece``: a WordPiece vocabulary learned from the reports at hand.

Training is deterministic: the same corpus gives the same vocabulary, byte for byte. The trainer of `tokenizers` numbers
the pieces of its alphabet in the order of a hash map, which differs from run to run and breaks ties; here the alphabet
is given to it in sorted order, and words and counts are all that it is shown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import make_folder
from medvlp.text.tokenizers import TokenBatch, hash_of_rules, pad_batch, rejoined, write_card

SPECIAL_TOKENS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PREFIX = "##"
_FILE = "tokenizer.json"
_WORDS = 1 << 16  # whose ids are remembered


class WordPieceTokenizer:
    """WordPiece with ``[CLS] words [SEP]``; ``[PAD]`` is 0.

    Args:
        inner: the tokenizer, as `train_wordpiece` or `read_wordpiece` make it.
        max_length: longest sequence, ``[CLS]`` and ``[SEP]`` included.

    Raises:
        ConfigError: if `max_length` leaves no room for a word.
    """

    name = "clinical_wordpiece"

    def __init__(self, inner: FastTokenizer, *, max_length: int = 256) -> None:
        if max_length < 3:
            raise ConfigError(f"max_length is {max_length}, but [CLS], [SEP] and one word need 3: set it to 3 or more.")
        self._inner = inner
        self._known: dict[str, tuple[int, ...]] = {}
        self.max_length = max_length
        self.vocab_size = inner.get_vocab_size()
        self.pad_id, self.unknown_id, self.cls_id, self.sep_id, self.mask_id = range(len(SPECIAL_TOKENS))
        self._rules = hash_of_rules(inner.to_str())
        self.start_id, self.stop_id = self.cls_id, self.sep_id

    @property
    def identity(self) -> str:
        """See `medvlp.text.tokenizers.Tokenizer`."""
        return f"{self.name} {self.max_length} {self._rules}"

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Return the ids of the texts; see `medvlp.text.tokenizers.Tokenizer`."""
        rows = [self._ids(text) for text in texts]
        cut = [row if len(row) <= self.max_length else [*row[: self.max_length - 1], self.sep_id] for row in rows]
        over = sum(len(row) > self.max_length for row in rows)
        return pad_batch(cut, pad_id=self.pad_id, truncated=over)

    def _ids(self, text: str) -> list[int]:
        """Return what the tokenizer says of a text. No piece crosses a space, and reports use few words over again."""
        ids = [self.cls_id]
        for word in text.split(" "):
            known = self._known.get(word)
            if known is None:
                if len(self._known) >= _WORDS:
                    self._known.clear()
                known = self._known[word] = tuple(self._inner.encode(word, add_special_tokens=False).ids)
            ids += known
        ids.append(self.sep_id)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, special tokens left out; normalised, single spaces also around most punctuation."""
        words: list[str] = []
        for piece in (self._inner.id_to_token(int(number)) for number in ids if number >= len(SPECIAL_TOKENS)):
            if piece is None:
                raise DataError(
                    f"An id is not below the vocabulary's size {self.vocab_size}: decode with the tokenizer that made "
                    f"it."
                )
            if piece.startswith(_PREFIX) and words:
                words[-1] += piece.removeprefix(_PREFIX)
            else:
                words.append(piece)
        return rejoined(" ".join(words))

    def tokens(self) -> tuple[str, ...]:
        """Return the vocabulary in the order of its ids."""
        by_id = sorted(self._inner.get_vocab().items(), key=lambda item: item[1])
        return tuple(token for token, _ in by_id)

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer.yaml`` into a folder."""
        make_folder(Path(folder))
        (Path(folder) / _FILE).write_text(self._inner.to_str(pretty=True), encoding="utf-8")
        write_card(folder, name=self.name, max_length=self.max_length)


def train_wordpiece(
    texts: Iterable[str], *, vocab_size: int = 4096, lowercase: bool = True, max_length: int = 256
) -> WordPieceTokenizer:
    """Learn a WordPiece vocabulary from texts.

    Args:
        texts: the corpus; read once.
        vocab_size: most pieces that the vocabulary may have, special tokens included.
        lowercase: fold case and strip accents.
        max_length: of the tokenizer.

    Returns:
        The tokenizer; its vocabulary depends on the words of the corpus and their counts only. Words with four digits
        or more, which may be somebody's number, have no pieces but their letters and digits; a name may have one.

    Raises:
        DataError: if the texts have no word.
        ConfigError: if `vocab_size` does not hold the special tokens and the alphabet.

    Example:
        >>> tokenizer = train_wordpiece(["No pleural effusion.", "Left effusion."], vocab_size=100)
        >>> tokenizer.decode(tokenizer(["Left pleural effusion"]).ids[0].tolist())
        'left pleural effusion'
    """
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    if not counts:
        raise DataError("The corpus has no word to learn a vocabulary from: give it at least one report with text.")
    letters = sorted({letter for word in counts for letter in word})
    pieces = letters + sorted({_PREFIX + letter for word in counts for letter in word[1:]})
    least = len(SPECIAL_TOKENS) + len(pieces)
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size is {vocab_size}, but special tokens and the corpus' letters alone are {least}: set it to more."
        )
    # A longer number is a patient's, a day or a telephone's, and a vocabulary goes into bundles: it is read in digits.
    words = Counter({word: count for word, count in counts.items() if sum(map(str.isdigit, word)) < 4})
    vocabulary = _learn(words, [*SPECIAL_TOKENS, *pieces], vocab_size)
    return WordPieceTokenizer(_assemble(vocabulary, lowercase=lowercase), max_length=max_length)


def read_wordpiece(folder: str | Path, *, max_length: int) -> WordPieceTokenizer:
    """Return the tokenizer saved in a folder.

    Raises:
        DataError: if ``tokenizer.json`` is missing, broken or not one of ours.
    """
    path = Path(folder) / _FILE
    try:
        text = path.read_text(encoding="utf-8")
        vocabulary = json.loads(text)["model"]["vocab"]
        first = tuple(sorted(vocabulary, key=vocabulary.__getitem__)[: len(SPECIAL_TOKENS)])
        inner = FastTokenizer.from_str(text)
    except Exception as error:  # `tokenizers` raises plain Exception for a file that it cannot parse
        raise DataError(
            f"{path} cannot be read as a tokenizer ({type(error).__name__}): copy or train it again."
        ) from error
    if first != SPECIAL_TOKENS or not isinstance(inner.pre_tokenizer, pre_tokenizers.BertPreTokenizer):
        raise DataError(
            f"{path} does not begin with {', '.join(SPECIAL_TOKENS)}, or has other rules than a WordPiece tokenizer's: "
            f"it was not written by clinical_wordpiece."
        )
    return WordPieceTokenizer(inner, max_length=max_length)


def _learn(counts: Counter[str], fixed: list[str], vocab_size: int) -> dict[str, int]:
    """Return token -> id; the alphabet goes in as special tokens, which the trainer numbers in the given order."""
    model = FastTokenizer(models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Each merge shortens a word, so there are no more pieces than letters; the trainer reserves what it is told.
    most = min(vocab_size, len(fixed) + sum(map(len, counts)))
    trainer = trainers.WordPieceTrainer(vocab_size=most, special_tokens=fixed, show_progress=False)
    model.train_from_iterator(_repeated(counts), trainer)
    return model.get_vocab(with_added_tokens=False)


def _repeated(counts: Counter[str]) -> Iterator[str]:
    """Yield every word as often as it was counted, in sorted order, some thousand at a time."""
    for word, count in sorted(counts.items()):
        while count > 0:
            portion = min(count, 4096)
            yield " ".join([word] * portion)
            count -= portion


def _assemble(vocabulary: dict[str, int], *, lowercase: bool) -> FastTokenizer:
    inner = FastTokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100, continuing_subword_prefix=_PREFIX)
    )
    inner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.add_special_tokens(list(SPECIAL_TOKENS))
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", SPECIAL_TOKENS.index("[CLS]")), ("[SEP]", SPECIAL_TOKENS.index("[SEP]"))],
    )
    return inner
