"""What a whole run will come to, told from a run on a sample of its input."""
