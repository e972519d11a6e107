"""CUDA C++ kernels and their launcher; see README.md in this folder.

Importing this needs neither CuPy nor a device: `module` loads them when a device is asked for.
"""
