"""`python -m vsearch_fast.bench`: how fast exact search is here, against roofs and peers.

::

    __main__    the command; session runs its parts and records them
    cases       the table of (metric, rows, queries, dimension, k), shared with the
                pytest-benchmark suite in benchmarks/; data makes their arrays
    contenders  vsearch_fast and NumPy; peers: other libraries, where installed
    answers     the right answer, and what counts as a mistake
    measure     paired timing in alternating order
    roofs       what the machine can do: bandwidth, and rates of instructions (roof_kernels)
    machine     processor, versions, BLAS, for the record
    growth      time a row by the number of rows; k = 1000 against 10
    footprint   memory of a search (search_memory), start of a process
    tables      Markdown; plots: the picture

benchmarks/README.md defines the units.
"""
