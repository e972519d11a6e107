"""How garments are painted: view, light, backdrop."""
