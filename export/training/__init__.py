"""The parts of `vsearch train`; `train.py` says how they follow each other."""
