"""Reports to meaning: sections, sentences, findings and labels, tokenizers and prompts."""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Mention": "mentions",
        "PromptSet": "prompts",
        "ReportText": "sections",
        "TokenBatch": "tokenizers",
        "Tokenizer": "tokenizers",
        "TransformersTokenizer": "tokenizers",
        "WordPieceTokenizer": "wordpiece",
        "label_report": "labels",
        "load_medslip_vocabulary": "medslip_vocabulary",
        "load_prompts": "prompts",
        "load_tokenizer": "tokenizers",
        "matrix_of": "medslip_matrix",
        "read_radgraph": "radgraph",
        "read_report": "mentions",
        "read_triplets": "triplet_files",
        "report_text": "sections",
        "split_sections": "sections",
        "split_sentences": "sentences",
        "tokenise": "tokenizers",
        "train_wordpiece": "wordpiece",
        "write_triplets": "triplet_files",
    },
)
