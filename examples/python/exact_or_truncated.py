"""Compares exact with truncated backpropagation on one long sequence, chunk by chunk.

    python exact_or_truncated.py MODEL FILE [CHUNK]

Exact: the gradient of each chunk's initial state becomes the dstate of the chunk before. Truncated: it is dropped.
"""

from __future__ import annotations

import sys

import numpy as np

import natrix


def gradients(model: natrix.Model, chunks: list[tuple[np.ndarray, np.ndarray]], exact: bool) -> dict[str, np.ndarray]:
    states: list[dict[str, np.ndarray]] = [{}]
    predictions = sum(int((targets >= 0).sum()) for _, targets in chunks)
    for tokens, targets in chunks[:-1]:  # sweep 1: the state at each boundary
        states.append(model.loss_and_gradients(tokens, targets, states[-1]).state)
    total: dict[str, np.ndarray] = {}
    dstate: dict[str, np.ndarray] = {}
    for (tokens, targets), state in zip(reversed(chunks), reversed(states)):  # sweep 2: backwards in time
        g = model.loss_and_gradients(tokens, targets, state, dstate if exact else None, divisor=predictions)
        natrix.add(total, g.parameters)
        dstate = g.dstate
    return total


def main(model_path: str, file: str, chunk: str = "256") -> None:
    model = natrix.open(model_path, trainable=True)
    with open(file, "rb") as source:
        tokens = model.tokenizer.encode(source.read(4096))
    targets = np.append(tokens[1:], -1)
    size = int(chunk)
    chunks = [(tokens[i : i + size], targets[i : i + size]) for i in range(0, len(tokens), size)]
    whole = model.loss_and_gradients(tokens).parameters
    for name, exact in (("exact", True), ("truncated", False)):
        found = gradients(model, chunks, exact)
        error = max(np.abs(found[k] - whole[k]).max() / max(np.abs(whole[k]).max(), 1e-30) for k in whole)
        print(f"{name}: largest relative difference from the gradient of the whole sequence {error:.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
