"""MAVL: MedKLIP's form, each finding asked for by its definition and nine sentences on its appearance."""

from medvlp.zoo.medklip import importer_of

__all__ = ["mavl"]

mavl = importer_of("mavl")
