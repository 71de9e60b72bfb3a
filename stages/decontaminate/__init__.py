"""Decontamination: documents that hold passages of evaluation sets are found, and dropped or cut."""
