"""One feature pass, and what needs only its tables or one forward: k-means, heat maps.

Functions are imported from their modules, whose names they have.
"""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"KMeans": "kmeans", "write_slice_features": "slice_features"})
