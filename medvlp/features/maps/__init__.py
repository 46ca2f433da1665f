"""Maps of where the score of an (image, text) pair comes from, one method a file.

Each is built by name with its options and called as ``(model, image, vectors) -> list[Map]``, a map a vector: the
picture is encoded once for all of them, and the values lie on the grid of the model's view, row by row.
"""

from medvlp.features.maps._method import MapMethod

__all__ = ["MapMethod"]
