"""Heads: parts of one view to more parts of it; a component's name is its file."""
