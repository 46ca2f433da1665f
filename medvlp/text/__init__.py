"""Reports to meaning: sections, sentences, findings and labels, tokenizers and prompts."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"read_report": "mentions", "split_sections": "sections", "train_wordpiece": "wordpiece"}
)
