"""Hits as text, JSON, CSV, a page and a picture."""
