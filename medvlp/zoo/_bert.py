"""BERT as a text tower: its sizes read off the weights, and what files of it hold beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medvlp.core.errors import DataError
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo._folder import tokenizer_beside
from medvlp.zoo._keys import count, is_range

# Buffers of older versions of transformers; the pooler and the word head, where a tower has no such part.
BERT_EXTRAS = {
    r".*\bembeddings\.position_ids": is_range,
    r".*\bembeddings\.token_type_ids": lambda tensor: not bool(tensor.any()),
}


def bert_config(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Return the configuration of the BERT under a prefix; heads are 64 wide, as of every BERT of these projects.

    Raises:
        DataError: if there is none.
    """
    try:
        vocabulary, width = weights[f"{prefix}embeddings.word_embeddings.weight"].shape
        hidden = weights[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0]
        positions = weights[f"{prefix}embeddings.position_embeddings.weight"].shape[0]
        kinds = weights[f"{prefix}embeddings.token_type_embeddings.weight"].shape[0]
    except (KeyError, ValueError):
        raise DataError(f"The checkpoint has no BERT under {prefix!r}: it is another model.") from None
    pattern = prefix.replace(".", r"\.") + r"encoder\.layer\.(\d+)\..*"
    return {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": count(weights, pattern),
        "num_attention_heads": max(1, width // 64),
        "intermediate_size": hidden,
        "max_position_embeddings": positions,
        "type_vocab_size": kinds,
    }


def bert_and_words(
    weights: Mapping[str, Tensor], prefix: str, tokenizer: str | None, *, title: str, hub: str, length: int
) -> tuple[dict[str, Any], TransformersTokenizer]:
    """Return the configuration of the BERT under a prefix, and its tokenizer, which the user names.

    Raises:
        UserError: if no tokenizer is named.
        DataError: if there is no BERT, or it knows fewer words.
    """
    config = bert_config(weights, prefix)
    return config, tokenizer_beside(tokenizer, title=title, hub=hub, length=length, vocabulary=config["vocab_size"])
