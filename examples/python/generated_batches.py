"""Trains a model on batches that are generated as they are needed: strings to copy.

    python generated_batches.py MODEL [STEPS]
"""

import sys

import numpy as np

import natrix


def copy_task(random: np.random.Generator, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Letters, a separator, the same letters. Only the second half has targets."""
    letters = random.integers(ord("a"), ord("z") + 1, (rows, length))
    tokens = np.hstack([letters, np.full((rows, 1), ord("|")), letters])
    targets = np.full_like(tokens, -1)
    targets[:, length:-1] = letters
    return tokens, targets


def main(model_path: str, steps: str = "50") -> None:
    model = natrix.open(model_path, trainable=True)
    count = int(steps)
    trainer = natrix.Trainer(model, lr=lambda step: natrix.cosine(step, count, 3e-3, warmup=5))
    random = np.random.default_rng(1)
    for step in range(count):
        tokens, targets = copy_task(random, rows=8, length=12)
        loss = trainer.step(tokens, targets=targets)
        if step % 10 == 0 or step + 1 == count:
            print(f"step {step + 1}/{count} | loss {loss:.3f} | norm {trainer.grad_norm:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
