"""Models: how towers share or do not share a trunk; a component's name is its file."""
