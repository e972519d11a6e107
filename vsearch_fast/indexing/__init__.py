"""An index brought up to date with its data and its network."""
