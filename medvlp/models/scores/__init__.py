"""Scores: similarities of rows and columns; a component's name is its file."""
