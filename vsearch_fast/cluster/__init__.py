"""More than one machine: what is embedded, searched and served on a Ray cluster."""
