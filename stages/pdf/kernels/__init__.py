"""Loops over the characters of a page that have to be compiled."""
