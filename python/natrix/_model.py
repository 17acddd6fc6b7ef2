"""Models, sessions and gradients: the Python form of include/natrix/natrix.h."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Union

import numpy as np
import numpy.typing as npt

from . import _arrays, _core
from ._arrays import Tensors, Tokens

if TYPE_CHECKING:
    from ._session import Session

StrPath = Union[str, "os.PathLike[str]"]
Arrays = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Scores:
    """loss: mean next-token cross-entropy in nats. logits: float32 [B, T, vocab_size]."""

    loss: float
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Gradients:
    """The loss of some tokens and its gradients. Every array owns its memory.

    loss: sum of the cross-entropies / divisor, in nats.
    predictions: number of targets.
    parameters: gradients under the checkpoint's names.
    dstate: gradient with respect to the state before the first token.
    state: the state after the last token.
    """

    loss: float
    predictions: int
    parameters: Arrays
    dstate: Arrays
    state: Arrays


def open(  # noqa: A001 - natrix.open, as gzip.open
    path: StrPath,
    *,
    backend: str = "auto",
    dtype: str = "fp32",
    weights: str = "f32",
    tokenizer: str = "",
    threads: int = 0,
    chunk: int = 2048,
    trainable: bool = False,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Opens a model: a Hugging Face directory, or a run directory (its latest checkpoint).

    backend: auto, cpu, cuda or reference. dtype: fp32; fp64 with reference; bf16 with cuda.
    weights: f32, bf16 or int8 in memory, for a model that is only read.
    threads: 0 means all that this process may use.
    chunk: tokens of a row that are in memory at once; results do not depend on it.
    trainable: allocates gradients, for loss_and_gradients() and what changes the parameters.
    warn: hears of oddities of the checkpoint; by default they go to stderr.
    """
    return Model(
        _core.open(os.fspath(path), backend, dtype, weights, tokenizer, threads, chunk, trainable, warn)
    )


class Tokenizer:
    """The tokenizer of a model. Text is str, or bytes where it need not be UTF-8."""

    def __init__(self, model: _core.LanguageModel) -> None:
        self._model = model

    def encode(self, text: str | bytes) -> npt.NDArray[np.int64]:
        """Ids [T] of a text; the end of a document is never among them."""
        return self._model.tokenize(text.encode() if isinstance(text, str) else text)

    def decode(self, ids: Tokens) -> str:
        """Text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_bytes(self, ids: Tokens) -> bytes:
        """Text of ids as it is."""
        return self._model.detokenize(_arrays.ids(ids))


class Model:
    """A model with its weights, its tokenizer and the threads or the device that it runs on.

    Calls may come from several Python threads; they run one after the other, without Python's lock.
    """

    def __init__(self, core: _core.LanguageModel) -> None:
        self._core = core

    @property
    def vocab_size(self) -> int:
        """Ids are below it."""
        return self._core.vocab_size

    @property
    def backend(self) -> str:
        """What runs: cpu, cuda or reference."""
        return self._core.backend

    @property
    def directory(self) -> str:
        """Where config.json is."""
        return self._core.directory

    @property
    def end_of_text(self) -> list[int]:
        """The ids that end a document; may be empty."""
        return list(self._core.end_of_text)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return Tokenizer(self._core)

    def session(self) -> Session:
        """A session that has read nothing."""
        from ._session import Session

        return Session(self._core.session(), self)

    def score(self, tokens: Tokens) -> Scores:
        """Logits and loss of tokens [T] or [B, T], each row from its beginning."""
        return Scores(*self._core.score(_arrays.rows(tokens)))

    def loss_and_gradients(
        self,
        tokens: Tokens,
        targets: Tokens | None = None,
        state: Tensors | None = None,
        dstate: Tensors | None = None,
        *,
        divisor: float | None = None,
    ) -> Gradients:
        """Loss and gradients of the cross-entropy of tokens [T] or [B, T], in memory that does not grow with T.

        targets: like tokens; -1 for none. By default the next token of the row, and none for the last.
        state: the state before the first token, by name; by default zero.
        dstate: gradient of another loss with respect to the state after the last token; the results are then
            the gradients of the sum of both losses. Pass a later chunk's dstate here.
        divisor: of the sum of the cross-entropies; by default the number of targets.
        The model must have been opened with trainable=True.
        """
        asked = None if targets is None else _arrays.rows(targets, "targets")
        return Gradients(
            *self._core.gradients(
                _arrays.rows(tokens), asked, divisor, _arrays.tensors(state), _arrays.tensors(dstate)
            )
        )

    def parameters(self) -> Arrays:
        """Copies of all parameters under the checkpoint's names. Trainable models."""
        return self._core.parameters()

    def set_parameters(self, values: Tensors) -> None:
        """Replaces any subset of the parameters. Trainable models."""
        self._core.set_parameters(_arrays.tensors(values))

    def save(self, directory: StrPath) -> None:
        """Writes a Hugging Face directory: weights, config.json, the tokenizer. Trainable models."""
        self._core.save(os.fspath(directory))
