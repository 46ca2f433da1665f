"""Folders of images and report tables without what identifies a patient."""
