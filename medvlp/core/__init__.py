"""The words everybody uses and the protocols of all parts below."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Batch": "sample",
        "Column": "sample",
        "ConfigError": "errors",
        "Context": "context",
        "DataError": "errors",
        "Encoded": "encoded",
        "Encoder": "protocols",
        "FeatureTable": "table",
        "Head": "protocols",
        "HeadSpec": "protocols",
        "Key": "keys",
        "Model": "protocols",
        "Objective": "protocols",
        "Part": "context",
        "Plan": "keys",
        "Sample": "sample",
        "Score": "protocols",
        "State": "protocols",
        "Teacher": "protocols",
        "Term": "term",
        "UserError": "errors",
    },
)
