"""Tests, in the folders of the sources they belong to."""
