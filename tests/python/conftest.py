"""A small trained run, for all tests of the Python package."""

import pathlib
import random

import pytest

import natrix


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    draw = random.Random(1)
    words = ["the", "light", "and", "earth", "was", "without", "form", "void", "upon", "deep", "moved", "face"]
    (folder / "text.txt").write_text(" ".join(draw.choice(words) for _ in range(2000)))
    config = {
        "run": {"dir": str(folder / "trained")},
        "model": {
            "pattern": "ME",
            "d_model": 16,
            "mamba": {"d_state": 4},
            "moe": {"num_experts": 4, "top_k": 2, "d_ff": 16},
        },
        "sequence": {"length": 64, "chunk": 16},
        "data": {"train": [str(folder / "text.txt")]},
        "train": {"steps": 40, "batch_size": 4, "eval_every": 0},
        "optimizer": {"lr": 0.02, "warmup_steps": 5},
        "device": {"backend": "cpu"},
        "log": {"every": 10},
    }
    heard = []
    directory = natrix.train(config, heard.append)
    assert directory == pathlib.Path(config["run"]["dir"])
    assert [m["step"] for m in heard] == [10, 20, 30, 40]
    assert natrix.read_metrics(directory) == heard
    assert heard[-1]["loss"] < heard[0]["loss"]
    return directory


@pytest.fixture(scope="session")
def model(run):
    return natrix.open(run, backend="cpu", trainable=True)
