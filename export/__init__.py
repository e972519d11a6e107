"""The Keras side: turns a Keras network into the one ONNX file that the rest works with.

The only code of the project that imports TensorFlow or Keras, and only when it is called::

    --weights -> weights.py   what the argument names: download, file checks
              -> asked.py     is the file there already?
              -> loading.py   a whole model, laid open, in float32
              -> vgg16.py     the Keras network, cut off at --layer
                 applications.py     (--architecture) the same of another
              -> onnx.py      ONNX nodes and weights
              -> graph.py     preprocessing in front, codes behind
              -> quantize.py  (int8)
              -> verify.py    the written file against Keras, on pictures
              -> on_provider.py   (--verify-on) the same on a GPU against the CPU
              -> locate.py    (--locate) its convolutions, in a second file
              -> moved into place

And an encoder of others, without TensorFlow (``adopting.py``)::

    encoder.onnx -> foreign.py   read, cut to one output; shapes and layout
                 -> trying.py    run on drawn pictures
                 -> wrapping.py  preprocessing in front, rows and codes behind
                 -> verify.py, and moved into place

On the command line: ``python -m vsearch_fast.export --help``.
"""

from __future__ import annotations

from .adopting import AdoptReport, adopt
from .exporting import ExportReport, export
from .weights import write_classes

__all__ = ["AdoptReport", "ExportReport", "adopt", "export", "write_classes"]
