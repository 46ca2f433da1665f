"""Metrics, intervals, retrieval, probes, results and the page: what turns scores into numbers one can believe."""
