"""Cohorts to batches: manifest, layouts, splits, prepared views, loader."""
