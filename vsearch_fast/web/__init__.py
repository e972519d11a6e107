"""Pages: the self-contained page of matches."""
