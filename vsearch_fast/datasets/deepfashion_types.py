"""The numbered types of DeepFashion's files in words; number 1 is the first."""

from __future__ import annotations

CATEGORY_TYPES = ("upper body", "lower body", "full body")
ATTRIBUTE_TYPES = ("texture", "fabric", "shape", "part", "style")
PARTITIONS = ("train", "val", "test")
