"""Training: loops of your own with Trainer, and whole runs with train(), plan() and read_metrics()."""

from __future__ import annotations

import json
import math
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Union

import numpy as np

from . import _arrays, _core
from ._arrays import Tensors, Tokens
from ._errors import Error, InputError
from ._model import Arrays, Gradients, Model, StrPath
from ._program import PATH

Config = Union[StrPath, Mapping[str, Any]]
STOPPED = 75  # exit status: stopped by a signal, everything saved


class AdamW:
    """AdamW with the moments of all parameters of a trainable model."""

    def __init__(
        self,
        model: Model,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        clip_grad_norm: float = 1.0,
    ) -> None:
        """weight_decay: of matrices only. clip_grad_norm: 0 for no clipping."""
        self._core = _core.AdamWOptimizer(model._core, *betas, eps, weight_decay, clip_grad_norm)

    def step(self, gradients: Tensors, lr: float) -> float:
        """Changes the parameters. gradients: all of them, by name. Returns their norm before clipping."""
        return self._core.step(_arrays.tensors(gradients), lr)


def add(a: Arrays, b: Tensors) -> None:
    """a += b, tensor by tensor; an empty a becomes a copy of b."""
    for name, value in b.items():
        if name in a:
            a[name] += np.asarray(value, np.float32)
        else:
            a[name] = np.array(value, np.float32)


def cosine(step: int, steps: int, lr: float, min_lr: float = 0.0, warmup: int = 0) -> float:
    """Learning rate of a step (from 0): linear warm-up, then a cosine to min_lr."""
    if step < warmup:
        return lr * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Trainer:
    """A training loop of your own: any data, any schedule.

    trainer = natrix.Trainer(model, lr=lambda step: natrix.cosine(step, 200, 3e-3))
    for tokens in batches: loss = trainer.step(tokens)
    """

    model: Model
    lr: float | Callable[[int], float] = 3e-4
    optimizer: AdamW | None = None
    steps_done: int = 0
    grad_norm: float = 0.0
    _sum: Arrays = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.optimizer is None:
            self.optimizer = AdamW(self.model)

    def step(self, *batches: Tokens, targets: Tokens | None = None) -> float:
        """One optimizer step on the mean over the batches' losses; returns that loss."""
        if not batches:
            raise InputError("Trainer.step needs at least one batch of tokens")
        if targets is not None and len(batches) != 1:
            raise InputError("Trainer.step takes targets for a single batch only")
        loss = 0.0
        for tokens in batches:
            g = self.model.loss_and_gradients(tokens, targets)
            self.accumulate(g, 1 / len(batches))
            loss += g.loss / len(batches)
        self.apply()
        return loss

    def accumulate(self, gradients: Gradients, weight: float = 1.0) -> None:
        """Adds gradients times weight to those of the step to come."""
        add(self._sum, {k: v * np.float32(weight) for k, v in gradients.parameters.items()})

    def apply(self) -> None:
        """Ends a step: changes the parameters by the accumulated gradients."""
        assert self.optimizer is not None
        lr = self.lr(self.steps_done) if callable(self.lr) else self.lr
        self.grad_norm = self.optimizer.step(self._sum, lr)
        self._sum = {}
        self.steps_done += 1


def read_metrics(run: StrPath) -> list[dict[str, Any]]:
    """The objects of a run's metrics.jsonl, in order; a line that is still being written is left out."""
    path = pathlib.Path(run)
    if path.is_dir():
        path = path / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}; expected the directory of a run") from e
    return [json.loads(line) for line in lines if line.endswith("\n")]


def plan(config: Config, ranks: int, device: str, **settings: Any) -> dict[str, Any]:
    """The result of `natrix plan CONFIG --ranks N --device NAME --json`. settings: as for train()."""
    with _config_file(config) as path:
        words = ["plan", path, "--ranks", str(ranks), "--device", device, *_overrides(settings), "--json"]
        done = subprocess.run([PATH, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _error(done.returncode, done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def train(
    config: Config,
    callback: Callable[[dict[str, Any]], object] | None = None,
    *,
    ranks: int = 1,
    poll_seconds: float = 0.2,
    **settings: Any,
) -> pathlib.Path:
    """Trains as `natrix train` does, in a process of its own; the same call resumes a stopped run.

    config: a YAML file, or a dict of the same form (then run.dir is required).
    callback: hears each object of metrics.jsonl as the run logs it. Returning False stops the run; all is
        saved then.
    ranks: more than one runs under mpirun.
    settings: overrides; a dot of the key is written as two underscores: train__steps=100.
    Returns the directory of the run.
    """
    with _config_file(config) as path:
        run = pathlib.Path(_run_directory(path, settings))
        command = [str(PATH), "train", path, *_overrides(settings), "--quiet"]
        if ranks > 1:
            command = ["mpirun", "-n", str(ranks), *command]
        seen = len(read_metrics(run)) if (run / "metrics.jsonl").exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            for metrics in _follow(process, run, seen, poll_seconds):
                if callback is not None and callback(metrics) is False and process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.communicate()
            raise
        errors = process.communicate()[1]
    if process.returncode not in (0, STOPPED):
        raise _error(process.returncode, errors)
    return run


def _follow(
    process: subprocess.Popen[str], run: pathlib.Path, seen: int, poll_seconds: float
) -> Iterator[dict[str, Any]]:
    """The metrics that a run appends, until it ends. A resumed run may first drop some."""
    while True:
        ended = process.poll() is not None
        known = read_metrics(run) if (run / "metrics.jsonl").exists() else []
        seen = min(seen, len(known))
        yield from known[seen:]
        seen = len(known)
        if ended:
            return
        time.sleep(poll_seconds)


class _config_file:
    """The path of a configuration; a dict is written to a file that is removed again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._temporary: str | None = None

    def __enter__(self) -> str:
        if not isinstance(self._config, Mapping):
            return os.fspath(self._config)
        handle, self._temporary = tempfile.mkstemp(suffix=".yaml", dir=".")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(self._config, file)  # JSON is YAML
        return self._temporary

    def __exit__(self, *_: object) -> None:
        if self._temporary:
            os.unlink(self._temporary)


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key.replace('__', '.')}={_word(value)}" for key, value in settings.items()]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run_directory(path: str, settings: Mapping[str, Any]) -> str:
    words = [str(PATH), "inspect", path, *_overrides(settings), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _error(done.returncode, done.stderr)
    return str(json.loads(done.stdout)["run_dir"])


def _error(status: int, message: str) -> Error:
    text = message.strip().removeprefix("natrix: ") or f"natrix ended with status {status}"
    return (InputError if status == 2 else Error)(text)
