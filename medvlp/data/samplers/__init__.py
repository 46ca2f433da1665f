"""Samplers: which record stands at which place of a run; a component's name is its file."""
