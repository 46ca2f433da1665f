"""The sentence forms of the phantom's reports, one file for each part of the chest; data, not logic."""
