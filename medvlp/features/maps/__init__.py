"""Maps of where the score of an (image, text) pair comes from, one method a file.

Each is built by name with its options and called as ``(model, image, vector) -> HeatMap``: the values lie on the grid
of the model's view, row by row; `medvlp.evaluation.grounding` lays them on the source's pixels. `scale` says how they
are read: ``own`` values mean the same in every picture (a cosine), ``peak`` ones are compared within a picture only.
"""

from medvlp.features.maps._method import MapMethod, Scale

__all__ = ["MapMethod", "Scale"]
