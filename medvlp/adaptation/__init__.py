"""Classifiers on frozen features, one component a file: tables in, an answer out; see `medvlp.core.answers.Probe`."""
