"""What garments are made of: colours, fabrics, patterns."""
