"""Lines and paragraphs that many documents have: found by exact counts (or a Bloom filter), cut out of the texts."""
