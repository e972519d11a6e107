"""Every error that vsearch_fast raises on purpose.

::

    VsearchError
    ├── ArgumentError         (ValueError)   a wrong value: shape, dimension, k, metric, NaN
    │   └── KeptError                        an output is there that took minutes to make
    ├── DTypeError            (TypeError)    an array of a type that has no exact meaning here
    ├── ImageError            (ValueError)   a picture that cannot be read
    ├── DatasetError          (ValueError)   a data set's file that is wrong; names file and line
    ├── ModelError                           a model file that is missing, foreign or broken
    │   ├── ExportError                      a model that could not be exported, or disagrees
    │   └── ModelMismatchError               features of one model meet an index of another
    ├── StoreError                           an index that cannot be read or written
    │   ├── DamagedError                     bytes on the disk that are not those written
    │   ├── ReplacedError                    an index that was removed or replaced while open
    │   ├── CompactedError                   rows got other numbers between two parts of a reading
    │   ├── LockedError                      a second writer
    │   ├── DuplicateIdError  (ValueError)   an id that the index holds already
    │   └── UnknownIdError    (KeyError)     an id that the index does not hold
    ├── ClusterError                         a Ray cluster that is not there, or lost a part
    ├── DeviceError                          a GPU that is not there, too old, full or failing
    └── MissingDependencyError (ImportError) an optional package that this needs

Each says three things: the *cause* (what is wrong, naming the file or row), the
*consequence* (what was therefore not done) and the *cure* (what to do next). The
message is the three in a row; interfaces that lay them out read the attributes.
"""

from __future__ import annotations


class VsearchError(Exception):
    """Base of all errors raised on purpose; catch it to catch them all.

    Attributes: ``cause``, ``consequence`` and ``cure``, each a sentence without its
    final full stop, or the empty string.
    """

    def __init__(self, cause: str, consequence: str = "", cure: str = "") -> None:
        super().__init__(cause, consequence, cure)
        self.cause = cause
        self.consequence = consequence
        self.cure = cure

    def __str__(self) -> str:
        return " ".join(f"{part}." for part in (self.cause, self.consequence, self.cure) if part)


class ArgumentError(VsearchError, ValueError):
    """A value out of range: a shape, a dimension, k, a metric's name, NaN or infinity."""


class KeptError(ArgumentError):
    """What took minutes to make is there, is something else, and is not replaced unasked."""


class DTypeError(VsearchError, TypeError):
    """An array whose type has no exact meaning for the metric."""


class ImageError(VsearchError, ValueError):
    """A picture that cannot be read: missing, empty, truncated, too large, not an image."""


class DatasetError(VsearchError, ValueError):
    """A data set's file that is wrong; the message names the file and the line."""


class ModelError(VsearchError):
    """A model file that is missing, broken or was not written by this project's export."""


class ExportError(ModelError):
    """A model that could not be exported, or whose export disagrees with Keras."""


class ModelMismatchError(ModelError):
    """Features of one model meet an index that holds another's."""


class StoreError(VsearchError):
    """An index that cannot be read or written."""


class DamagedError(StoreError):
    """Bytes of an index that are not those that were written; names file and rows."""


class ReplacedError(StoreError):
    """An index that was removed, or another put at its place, since it was opened."""


class CompactedError(StoreError):
    """An index that was compacted between two parts of one reading, which is to begin anew."""


class LockedError(StoreError):
    """Another process is writing to this index."""


class DuplicateIdError(StoreError, ValueError):
    """An id that the index holds already, or that one call names twice."""


class UnknownIdError(StoreError, KeyError):
    """An id that the index does not hold."""


class ClusterError(VsearchError):
    """A Ray cluster that is not there, or that lost what was asked of it and did not bring it
    back in time; names shards and nodes."""


class DeviceError(VsearchError):
    """A GPU that was asked for and is not there, too old, out of memory or failing."""


class MissingDependencyError(VsearchError, ImportError):
    """An optional package that this needs is not installed."""
