"""How garments are cut: outlines and parts."""
