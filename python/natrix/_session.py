"""Sessions: one text that a model reads and continues."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import _arrays, _core
from ._arrays import Tokens
from ._model import StrPath

if TYPE_CHECKING:
    from ._model import Model


class Session:
    """One text that a model reads and continues, in memory that does not depend on the text's length.

    A session keeps its model alive. One session must not be used by two threads at once.
    """

    def __init__(self, core: _core.TextSession, model: Model) -> None:
        self._core = core
        self.model = model

    @property
    def position(self) -> int:
        """Tokens read and written so far."""
        return self._core.position

    def feed(self, text: str | bytes | Tokens) -> None:
        """Appends text, or tokens [T]. Long texts may come in pieces; each is tokenized by itself."""
        if isinstance(text, (str, bytes)):
            self._core.read(text.encode() if isinstance(text, str) else text)
        else:
            self._core.read_tokens(_arrays.ids(text))

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of the token that comes next, [vocab_size]."""
        return self._core.logits()

    def generate(
        self,
        tokens: int = 128,
        *,
        temp: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int = 0,
        ignore_eos: bool = False,
        stop: Sequence[str] = (),
        stop_ids: Sequence[int] = (),
        logit_bias: Mapping[int, float] | None = None,
    ) -> Iterator[str]:
        """Samples up to `tokens` tokens and yields their text as it comes, in whole characters.

        temp=0 is greedy. stop: strings that end the text and are not part of it; stop_ids: ids that end it besides
        the end of a document. logit_bias: added to logits before all else. A session that has read nothing starts a document. Ending the iteration early is fine:
        the session has then read what was yielded.
        """
        writing = self._core.writer(
            _core.GenerateOptions(
                tokens=tokens,
                temp=temp,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repeat_penalty=repeat_penalty,
                seed=seed,
                ignore_eos=ignore_eos,
                stop=list(stop),
                stop_ids=list(stop_ids),
                logit_bias=dict(logit_bias or {}),
            )
        )
        while (piece := writing.next()) is not None:
            yield piece.decode(errors="replace")

    @property
    def finish_reason(self) -> str:
        """How the last generation ended: "length" or "stop"."""
        return self._core.finish_reason

    def save(self, path: StrPath) -> None:
        """Writes a state file, as `natrix generate --state-out` does."""
        self._core.save(os.fspath(path))

    def load(self, path: StrPath) -> None:
        """Continues from a state file; one of another model is refused."""
        self._core.load(os.fspath(path))

    def fork(self) -> Session:
        """An independent copy."""
        return Session(self._core.fork(), self.model)

    def to_bytes(self) -> bytes:
        """The contents of the state file that save() would write."""
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "state"
            self.save(path)
            return path.read_bytes()

    def from_bytes(self, state: bytes) -> None:
        """Continues from what to_bytes() returned."""
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / "state"
            path.write_bytes(state)
            self.load(path)
