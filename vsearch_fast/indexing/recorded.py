"""What an index says about how its pictures became features, and queries that follow it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..embedder.embedder import Embedder
from ..embedder.providers import ProviderFallbackWarning
from ..errors import MissingDependencyError, ModelError
from ..images.jpeg import AUTO, LIBJPEG_TURBO
from ..index.index import Index
from ..models.shipped import default_model, with_model_id
from ..shards.opening import file_of, open_index
from .sync import check_decoder


def _at_hand(index_path: Path, index: Index | None) -> contextlib.AbstractContextManager[Index]:
    """The index that is open already, and stays so, or else one opened for a moment."""
    return open_index(index_path) if index is None else contextlib.nullcontext(index)


def _exists(index_path: Path) -> bool:
    return file_of(index_path).exists()


def model_file(index_path: Path, index: Index | None = None) -> Path:
    """The model file that an index was made with, for a new one the package's default; `index`
    where it is open already.

    Where it is not known or gone, and the index is of a model of the package, that is meant: the
    index was made in Python, or the package was installed somewhere else since. ModelError
    where it is another's.
    """
    if index is None and not _exists(index_path):
        return default_model()
    with _at_hand(index_path, index) as found:
        file, model_id = found.model.get("file"), found.model_id
    if file and Path(file).is_file():
        return Path(file)
    shipped = with_model_id(model_id)
    if shipped is not None:
        return shipped.path
    if not file:
        raise ModelError(
            f"{index_path} does not say which file its model is in",
            "Pictures cannot be turned into features",
            "Name it: --model FILE (vsearch index notes it for the next time)",
        )
    raise ModelError(
        f"the model that made {index_path} is no longer at {file}",
        "Pictures cannot be turned into features",
        "Say where it is: --model FILE",
    )


def embedder_for(
    index_path: Path,
    model: Path,
    *,
    decoder: str,
    writing: bool,
    say: Callable[[str], None],
    index: Index | None = None,
    **options: Any,
) -> Embedder:
    """An Embedder that decodes pictures as those of the index were; what is amiss goes to `say`.

    `decoder` "auto" is the index's own. Another one is taken for queries, with a word on it,
    and refused when `writing`: an index has one decoder (ModelMismatchError). `index` is given
    where it is open already.
    MissingDependencyError where the index's own is not installed.
    """
    own = None
    if index is not None or _exists(index_path):
        with _at_hand(index_path, index) as found:
            own = found.decoder
            if writing and decoder != AUTO:
                check_decoder(found, decoder)
    if own is not None and decoder not in (AUTO, own):
        say(
            f"The pictures in {index_path} were decoded by {own}: by {decoder} some bits of a "
            "query may differ."
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProviderFallbackWarning)
        try:
            embedder = Embedder(
                model, decoder=(own or AUTO) if decoder == AUTO else decoder, **options
            )
        except MissingDependencyError as error:
            if own is None or decoder not in (AUTO, own) or own not in str(error):
                raise
            raise MissingDependencyError(
                f"the pictures in {index_path} were decoded by {own}, and here: {error.cause}",
                error.consequence,
                f"{error.cure}; --decoder {LIBJPEG_TURBO} searches with it all the same, and "
                "some bits of a query may then differ",
            ) from error
    for warning in caught:
        if issubclass(warning.category, ProviderFallbackWarning):
            say(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return embedder


def running(embedder: Embedder) -> str:
    """What runs the network and what decodes, in a line."""
    short = embedder.provider.removesuffix("ExecutionProvider")
    engine = (
        "; TensorRT builds its engine at the first batch, which takes minutes once"
        if short == "Tensorrt"
        else ""
    )
    return (
        f"Network on {short} ({embedder.metadata.get('precision') or 'fp32'}), JPEG by "
        f"{embedder.decoder}{engine}."
    )
