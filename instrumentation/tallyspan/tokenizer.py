"""Token counts of text by tiktoken, from vocabularies that come with this package.

Exact for OpenAI's models. For others `o200k_base` stands in: their own tokenizers differ from it by
up to 35 % on English prose and code, more on scripts they treat otherwise.
"""

# tiktoken is imported with the first count, for most processes count nothing. It imports this
# module, which Python refuses to a process that is about to end.
import concurrent.futures.thread  # noqa: F401  see above
import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

STAND_IN = "o200k_base"
SHIPPED = ("o200k_base", "cl100k_base")
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_loading = threading.Lock()
# A child of a fork in the middle of it would have locks, tiktoken's too, that nobody releases.
os.register_at_fork(
    before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release
)


def count(text: str, model: str) -> int:
    """Return how many tokens the text has for the model."""
    return len(_encoding(encoding_name(model)).encode_ordinary(text))


def encoding_name(model: str) -> str:
    """Return the vocabulary of the model, or the stand-in for one that is not OpenAI's."""
    name = own_encoding_name(model)
    return name if name in SHIPPED else STAND_IN


def own_encoding_name(model: str) -> str | None:
    """Return the vocabulary of the model, None for one that is not OpenAI's."""
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        return None


@lru_cache(maxsize=len(SHIPPED))
def _encoding(name: str) -> "tiktoken.Encoding":
    import hashlib
    import lzma
    import tempfile
    from importlib import resources
    from pathlib import Path

    import tiktoken

    # tiktoken looks for a file named by the SHA-1 of its URL before it would download anything,
    # and checks the content's SHA-256 itself.
    packed = resources.files(__package__).joinpath(f"vocabularies/{name}.tiktoken.xz").read_bytes()
    file_name = hashlib.sha1(_URL.format(name).encode(), usedforsecurity=False).hexdigest()
    with _loading, tempfile.TemporaryDirectory(prefix="tallyspan-") as folder:
        Path(folder, file_name).write_bytes(lzma.decompress(packed))
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = folder
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before
