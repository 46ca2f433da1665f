"""Sentences of reports before a picture: against their false copies, as probabilities, as verdicts."""
