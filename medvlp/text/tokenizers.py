"""Texts -> token ids: the one protocol, the batch, and any tokenizer of `transformers`.

Reports are longer than the 77 tokens of CLIP: the default limit is 256, and what is cut is counted, never silent.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
import yaml

from medvlp.core.errors import ConfigError, UserError
from medvlp.core.files import make_folder
from medvlp.core.sample import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CARD = "tokenizer.yaml"
# Classes that come as code beside a vocabulary and are one of transformers' own by another name.
_RENAMED = {"CXRBertTokenizer": "BertTokenizer"}
_OF_FILES = ("name_or_path", "vocab_file", "is_local", "local_files_only")  # what says only where they came from
_FEWEST = 2  # words that a tokenizer knows
_APART = re.compile(  # "1.5 cm", "4-mm", "plate-like", "isn't", "w/o"; ". 2 . 9 mm" is the second of a list
    r"(?<=\d) (\.) (?=\d+ ?(?:[-x×]|to\b|by\b|cm\b|centi))|(?<!\. \d)(?<=\d) (\.) (?=\d+ ?(?:mm\b|milli))"
    r"|(?<=\w) (-) (?=(?:[mc]m|like)\b)|(?<=[a-z]) (') ?(?=(?:d|ll|m|re|s|t|ve)\b)|(?<=\bw) (/) (?=o\b)",
    re.IGNORECASE,
)
# Of ids that no tower reads: those that SigLIP's folders leave out are by default beyond its vocabulary.
logging.getLogger("transformers.configuration_utils").addFilter(lambda of: "_token_id must be" not in of.getMessage())
_MULTIPLE = 8  # lengths are rounded up to it, so that kernels see few shapes


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Token ids int64 ``(R, L)``, padded with the tokenizer's `pad_id`; mask bool ``(R, L)``, True on tokens.

    `truncated` counts the texts that were longer than the limit and lost their end.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    truncated: int


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers.

    Attributes:
        name: kind, as written in ``tokenizer.yaml``.
        vocab_size: ids are below it.
        max_length: longest sequence, special tokens included.
        pad_id: id of the padding.
    """

    name: str
    vocab_size: int
    max_length: int
    pad_id: int

    @property
    def identity(self) -> str:
        """The same for two tokenizers only if they give the same ids to every text."""
        ...

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Return the ids of the texts, padded to the longest, rounded up to a multiple of 8."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write everything that `load_tokenizer` needs into a folder."""
        ...


@runtime_checkable
class SpeakingTokenizer(Protocol):
    """A tokenizer whose ids can be written: it has a first and a last token, and turns ids into words.

    Attributes:
        start_id: of the token that every text begins with.
        stop_id: of the token that it ends with.
        max_length: longest sequence, special tokens included.
    """

    start_id: int
    stop_id: int
    max_length: int

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """See `Tokenizer`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, special tokens left out."""
        ...


def pad_batch(rows: Sequence[Sequence[int]], *, pad_id: int, truncated: int) -> TokenBatch:
    """Pad rows of ids to one length, a multiple of 8."""
    sizes = [len(row) for row in rows]
    length = -(-max([1, *sizes]) // _MULTIPLE) * _MULTIPLE
    mask = torch.arange(length) < torch.tensor(sizes, dtype=torch.int64)[:, None]
    ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    ids[mask] = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
    return TokenBatch(ids, mask, truncated)


def rejoined(text: str) -> str:
    """Return words of WordPiece, a space around each mark, joined where a reader takes the parts for something else."""
    return _APART.sub(lambda found: found[found.lastindex or 0], text)


def tokenise(words: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Return what a text tower takes: ids no longer than the longest text, and where they are tokens.

    A text without a word is one padding token, which counts as one: attention over no key at all is not a number.

    Args:
        words: the tower's tokenizer.
        texts: at least one.

    Example:
        >>> from medvlp.text.wordpiece import train_wordpiece
        >>> words = train_wordpiece(["left effusion"], vocab_size=100)
        >>> tokens = tokenise(words, ["effusion", "left effusion"])
        >>> tokens.ids.shape, tokens.mask.sum(dim=1).tolist()
        (torch.Size([2, 4]), [3, 4])
    """
    made = words(texts)
    mask = made.mask.clone()
    mask[:, 0] = True
    return Tokens.trimmed(made.ids, mask, truncated=made.truncated)


class TransformersTokenizer:
    """Any tokenizer of `transformers`, by folder or by name.

    Files on this machine are tried first; the network only for a name that is not there. Code that comes with a
    tokenizer is never run.

    Args:
        path_or_name: folder, or name on the Hugging Face hub.
        max_length: longest sequence, special tokens included.

    Raises:
        UserError: if there is no such tokenizer here and it cannot be fetched, or it has no vocabulary.
        ConfigError: if it knows no padding token, or `max_length` leaves no room for a word.
    """

    name = "transformers"

    def __init__(self, path_or_name: str | Path, max_length: int = 256) -> None:
        self._wrap(_from_pretrained(str(path_or_name)), str(path_or_name), max_length)

    @classmethod
    def of(cls, made: PreTrainedTokenizerBase, *, max_length: int) -> TransformersTokenizer:
        """Return one around a tokenizer of transformers that was made in memory."""
        words = cls.__new__(cls)
        words._wrap(made, type(made).__name__, max_length)
        return words

    def _wrap(self, inner: PreTrainedTokenizerBase, path_or_name: str, max_length: int) -> None:
        self._inner = inner
        if self._inner.pad_token_id is None:
            raise ConfigError(
                f"The tokenizer {path_or_name} has no padding token: use one that has, or add it and save it."
            )
        # transformers makes an empty tokenizer of a folder that has its settings and no vocabulary.
        if len(self._inner) - len(set(self._inner.all_special_ids)) < _FEWEST:
            raise UserError(
                f"The tokenizer {path_or_name} knows no words beside its special tokens: give the folder that has its "
                "vocabulary too (tokenizer.json, vocab.txt or spiece.model)."
            )
        specials = self._inner.num_special_tokens_to_add()
        if max_length <= specials:
            raise ConfigError(
                f"max_length is {max_length}, but the tokenizer {path_or_name} adds {specials} special tokens to every "
                f"text: set it to {specials + 1} or more."
            )
        self.max_length = max_length
        self.vocab_size = max(len(self._inner), max(self._inner.get_vocab().values()) + 1)  # some leave ids out
        self.pad_id = int(self._inner.pad_token_id)
        self.pads_in_front = self._inner.padding_side == "left"  # as it was made; here texts are padded behind
        self._rules = hash_of_rules(_rules_of(self._inner))
        first, last = self._inner.cls_token_id, self._inner.sep_token_id
        self.start_id = int(first if first is not None else self._inner.bos_token_id or 0)
        self.stop_id = int(last if last is not None else self._inner.eos_token_id or 0)

    @property
    def identity(self) -> str:
        """See `Tokenizer`."""
        return f"{self.name} {self.max_length} {self._rules}"

    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        """Return the ids of the texts; see `Tokenizer`."""
        if not texts:
            return pad_batch([], pad_id=self.pad_id, truncated=0)
        full = self._inner(list(texts), add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
        over = sum(len(row) > self.max_length for row in full)
        if over:  # cut by the tokenizer itself, which knows where its special tokens go
            full = self._inner(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        return pad_batch(full, pad_id=self.pad_id, truncated=over)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, special tokens left out."""
        text = str(self._inner.decode(list(ids), skip_special_tokens=True)).strip()
        model = getattr(getattr(self._inner, "backend_tokenizer", None), "model", None)
        if type(model).__name__ == "WordPiece":  # its full stops would hang on words in small letters, and end nothing
            pieces = self._inner.convert_ids_to_tokens(list(ids), skip_special_tokens=True)
            return rejoined(" ".join(pieces).replace(" ##", ""))
        clip = getattr(model, "end_of_word_suffix", None)  # to CLIP each digit is a word
        return rejoined(re.sub(r"(?<=\d) (?=\d)", "", text)) if clip else text

    def continuing(self) -> list[bool]:
        """Return of each id whether it goes on with the word before it, as WordPiece marks it (``##``)."""
        pieces = self._inner.convert_ids_to_tokens(list(range(self.vocab_size)))
        return [piece is not None and piece.startswith("##") for piece in pieces]

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's own files and ``tokenizer.yaml`` into a folder."""
        make_folder(Path(folder))
        self._inner.save_pretrained(str(folder))
        write_card(folder, name=self.name, max_length=self.max_length)


def with_length(words: Tokenizer, max_length: int) -> Tokenizer:
    """Return the same tokenizer, but for the length at which it cuts; the one given stays as it is.

    Example:
        >>> from medvlp.text import train_wordpiece
        >>> words = train_wordpiece(["no pleural effusion"] * 2, vocab_size=64, max_length=3)
        >>> with_length(words, 8)(["no effusion"]).mask.sum().item(), words(["no effusion"]).mask.sum().item()
        (4, 3)
    """
    longer = copy.copy(words)
    longer.max_length = max_length
    return longer


def write_card(folder: str | Path, *, name: str, max_length: int) -> None:
    """Write ``tokenizer.yaml``: which kind it is and how long its sequences may be."""
    card = yaml.safe_dump({"name": name, "max_length": max_length}, sort_keys=False)
    (Path(folder) / CARD).write_text(card, encoding="utf-8")


def hash_of_rules(rules: str) -> str:
    """Return the SHA-256 of all that a tokenizer's ids depend on beside its limit."""
    return hashlib.sha256(rules.encode()).hexdigest()


def _rules_of(inner: PreTrainedTokenizerBase) -> str:
    """Return what its ids depend on: not where its files lie, how often they were saved, or what it cut last."""
    fast = getattr(inner, "backend_tokenizer", None)  # absent in tokenizers written in Python
    if fast is not None:
        fast.no_truncation()  # each call says anew whether it cuts and pads
        fast.no_padding()
        return f"{type(inner).__name__} {fast.to_str()} {inner.pad_token_id} {inner.truncation_side}"
    own = sorted((name, str(value)) for name, value in inner.init_kwargs.items() if name not in _OF_FILES)
    return f"{type(inner).__name__} {sorted(inner.get_vocab().items())} {inner.special_tokens_map} {own}"


def _from_pretrained(path_or_name: str) -> PreTrainedTokenizerBase:
    local = Path(path_or_name).is_dir()
    try:
        return _fetch(path_or_name, local_files_only=True)
    except Exception as error:  # tokenizers raises that very class at a file of a later version
        if local:
            raise UserError(
                f"The folder {path_or_name} holds no tokenizer that transformers can read ({type(error).__name__}): "
                f"give the folder that has its tokenizer.json or vocab.txt and tokenizer_config.json."
            ) from error
    try:
        return _fetch(path_or_name, local_files_only=False)
    except Exception as error:  # whatever the hub's client raises when offline: all of it means the same to the user
        raise UserError(
            f"The tokenizer {path_or_name!r} is neither a folder here, nor in the local cache, nor could it be fetched "
            f"({type(error).__name__}): give a folder, or fetch it once on a machine with network."
        ) from error


def _fetch(path_or_name: str, *, local_files_only: bool) -> PreTrainedTokenizerBase:
    import transformers
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    settings = get_tokenizer_config(path_or_name, local_files_only=local_files_only)
    mapped = settings.get("auto_map") or {}  # a list in older files
    code = (mapped.get("AutoTokenizer") if isinstance(mapped, dict) else mapped) or [""]
    own = str(code if isinstance(code, str) else code[0]).rpartition(".")[2] or settings.get("tokenizer_class")
    reader = getattr(transformers, _RENAMED.get(str(own), "AutoTokenizer"))
    found = reader.from_pretrained(path_or_name, local_files_only=local_files_only, trust_remote_code=False)
    if isinstance(getattr(found, "init_kwargs", None), dict):
        found.init_kwargs.pop("auto_map", None)  # the code that it names is not written with it
    if found is None:
        raise OSError(f"transformers has no tokenizer class for {path_or_name}")
    return found
