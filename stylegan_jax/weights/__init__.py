"""Whose network is it? Readers and writers of every layout."""
