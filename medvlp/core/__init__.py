"""The words everybody uses and the protocols of all parts below."""

from medvlp.core.lazy import attach

_NAMES = {
    "context": "Context FieldRows Part",
    "encoded": "Encoded",
    "errors": "ConfigError DataError UserError",
    "keys": "Key Plan parse_key",
    "protocols": "Encoder Head HeadSpec Model Objective Score State Teacher",
    "registry": "FromModel build",
    "sample": "Batch Column ImageRecord Sample",
    "table": "FeatureTable",
    "term": "Term",
    "triplet": "Triplet",
}

__getattr__, __dir__, __all__ = attach(
    __name__, {name: module for module, names in _NAMES.items() for name in names.split()}
)
