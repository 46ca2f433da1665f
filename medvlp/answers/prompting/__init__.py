"""Scores from texts: recipes, prompt weights, class vectors, left against right."""
