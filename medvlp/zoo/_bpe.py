"""CLIP's tokenizer: from a folder that the user names, else from the vocabulary that open_clip_torch ships."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medvlp.core.errors import UserError
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo._folder import tokenizer_in

_PLACES = (("open_clip", "bpe_simple_vocab_16e6.txt.gz"), ("clip", "bpe_simple_vocab_16e6.txt.gz"))
_WORDS = 49152 - 256 - 2  # of the file's lines as many are merges that CLIP uses


def clip_tokenizer(folder: str | None, *, length: int, vocabulary: int) -> TransformersTokenizer:
    """Return the tokenizer of OpenAI's CLIP (lower-cased byte pairs), which its checkpoints do not bring.

    Args:
        folder: with transformers' CLIPTokenizer, or a hub name such as ``openai/clip-vit-base-patch32``; None: made of
            the file in an installed open_clip_torch; it is read, the package is not imported.
        length: positions of the text tower.
        vocabulary: words of the text tower.

    Raises:
        UserError: if there is neither.
    """
    if folder is not None:
        return tokenizer_in(Path(folder), length=length, vocabulary=vocabulary)
    for package, name in _PLACES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None and (Path(spec.origin).parent / name).is_file():
            return TransformersTokenizer.of(_made(Path(spec.origin).parent / name), max_length=length)
    raise UserError(
        "A checkpoint in OpenAI's layout brings no tokenizer: give tokenizer=FOLDER with that of CLIP (or its hub "
        "name, openai/clip-vit-base-patch32), or `pip install open_clip_torch`, whose copy is read."
    )


def _made(file: Path) -> Any:  # noqa: ANN401  (of transformers)
    from transformers import CLIPTokenizer

    with gzip.open(file, "rt", encoding="utf-8") as stream:
        lines = stream.read().split("\n")[1 : _WORDS + 1]
    merges: Any = [tuple(line.split()) for line in lines]
    # Bytes that print stand for themselves and come first; the others for characters from 256 on.
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(shown)
    letters = [chr(c) for c in shown] + [chr(256 + i) for i in range(hidden)]
    words = [*letters, *(f"{each}</w>" for each in letters), *("".join(each) for each in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges)
