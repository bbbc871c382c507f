"""Vocabularies, usage conventions, and which spans are one call."""
