"""`python -m vsearch_fast.bench`: how fast each metric is, against the NumPy reference.

::

    cases       the table of (metric, rows, queries, dimension, k) and its contenders,
                shared with the pytest-benchmark suites in benchmarks/
    roofs       what the machine can do: its read bandwidth, measured
    measure     paired timing in alternating order, answers checked
    __main__    the command and its table
"""
