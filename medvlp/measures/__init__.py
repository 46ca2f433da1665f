"""How a model is judged, one component a file; see `medvlp.evaluation.measure`."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {"chosen_measures": "_points", "check_choice": "_points", "first_choice": "_points", "point_values": "_points"},
)
