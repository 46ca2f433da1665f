"""Reports to meaning: sections, sentences, findings and labels, tokenizers and prompts."""

from __future__ import annotations

from medvlp.core.lazy import attach

_NAMES = {
    "labels": "label_report",
    "medslip_matrix": "matrix_of",
    "medslip_vocabulary": "load_medslip_vocabulary",
    "mentions": "Mention read_report",
    "prompts": "PromptSet load_prompts",
    "radgraph": "read_radgraph",
    "sections": "ReportText report_text split_sections",
    "sentences": "split_sentences",
    "saved_tokenizers": "load_tokenizer",
    "tokenizers": "TokenBatch Tokenizer TransformersTokenizer tokenise",
    "triplet_files": "read_triplets write_triplets",
    "wordpiece": "WordPieceTokenizer train_wordpiece",
}
__getattr__, __dir__, __all__ = attach(
    __name__, {name: module for module, names in _NAMES.items() for name in names.split()}
)
