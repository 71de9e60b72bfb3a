"""vLLM's engine in a process of ours: ``VllmHost`` owns it, ``worker`` is that process."""
