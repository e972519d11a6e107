"""The sections of ``python benchmarks/scale.py``, and the model fitted to what they find."""
