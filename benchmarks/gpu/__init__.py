"""What the GPU report measures, section by section."""
