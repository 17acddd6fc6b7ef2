"""Conversions of what users pass: lists, tuples and arrays of tokens and of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ._errors import InputError

Tokens = Union[Sequence[int], Sequence[Sequence[int]], npt.NDArray[np.integer[Any]]]
Tensors = Mapping[str, npt.ArrayLike]


def ids(tokens: Tokens) -> npt.NDArray[np.int64]:
    """tokens as a contiguous int64 array [T]; not copied if they are one."""
    array = _integers(tokens)
    if array.ndim != 1:
        raise InputError(f"tokens have shape {array.shape}; a session reads one row, [T]")
    return array


def rows(tokens: Tokens, name: str = "tokens") -> npt.NDArray[np.int64]:
    """tokens [T] or [B, T] as a contiguous int64 array [B, T]; not copied if they are one."""
    array = _integers(tokens, name)
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise InputError(f"{name} have shape {array.shape}; expected [T] or [B, T]")
    return array


def tensors(values: Tensors | None) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors by name as contiguous float32 arrays; those that are such are not copied."""
    return {name: np.ascontiguousarray(value, np.float32) for name, value in (values or {}).items()}


def _integers(tokens: Tokens, name: str = "tokens") -> npt.NDArray[np.int64]:
    array = np.asarray(tokens)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} are {array.dtype}; expected integers")
    return np.ascontiguousarray(array, np.int64)
