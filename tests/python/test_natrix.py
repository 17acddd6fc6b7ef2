"""The Python package: sessions, gradients across chunks, ownership, errors."""

import gc
import json
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import natrix

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python"


def text_rows(model, rows=2, length=48):
    return np.random.default_rng(3).integers(97, 123, (rows, length))


def test_a_text_comes_back(model):
    text = "in the beginning é \U0001f40d"
    ids = model.tokenizer.encode(text)
    assert ids.dtype == np.int64 and model.tokenizer.decode(ids) == text
    assert model.tokenizer.decode_bytes(model.tokenizer.encode(b"\xff\x00")) == b"\xff\x00"


def test_a_session_goes_on_from_a_file_from_bytes_and_as_a_fork(model, tmp_path):
    whole = model.session()
    whole.feed("the light was ")
    want = "".join(whole.generate(tokens=20, temp=0))
    session = model.session()
    session.feed("the light ")
    session.save(tmp_path / "state")
    state = session.to_bytes()
    assert state == (tmp_path / "state").read_bytes()
    forks = [session.fork(), model.session(), model.session()]
    forks[1].load(tmp_path / "state")
    forks[2].from_bytes(state)
    for fork in forks:
        fork.feed("was ")
        assert "".join(fork.generate(tokens=20, temp=0)) == want
        assert fork.position == whole.position


def test_generation_is_an_iterator_that_may_end_early(model):
    a, b = model.session(), model.session()
    for session in (a, b):
        session.feed("the ")
    pieces = a.generate(tokens=30, temp=0.7, seed=5)
    first = [next(pieces) for _ in range(4)]
    del pieces
    again = b.generate(tokens=4, temp=0.7, seed=5)
    assert "".join(again) == "".join(first)
    np.testing.assert_array_equal(a.logits(), b.logits())


def test_logits_are_those_of_score(model):
    tokens = text_rows(model, 1)
    session = model.session()
    session.feed(tokens[0])
    np.testing.assert_array_equal(session.logits(), model.score(tokens).logits[0, -1])


def test_gradients_carried_over_chunks_are_those_of_the_whole(model):
    tokens = text_rows(model)
    targets = np.concatenate([tokens[:, 1:], np.full((len(tokens), 1), -1)], axis=1)
    whole = model.loss_and_gradients(tokens)
    parts = [(tokens[:, i : i + 16], targets[:, i : i + 16]) for i in range(0, 48, 16)]
    states = [{}]
    for part in parts[:-1]:
        states.append(model.loss_and_gradients(*part, states[-1], divisor=whole.predictions).state)
    total, dstate, loss = {}, {}, 0.0
    for part, state in zip(reversed(parts), reversed(states)):
        g = model.loss_and_gradients(*part, state, dstate, divisor=whole.predictions)
        natrix.add(total, g.parameters)
        dstate, loss = g.dstate, loss + g.loss
    assert loss == pytest.approx(whole.loss, rel=1e-6)
    assert total.keys() == whole.parameters.keys()
    for name, want in whole.parameters.items():
        assert np.abs(total[name] - want).max() <= 1e-5 * np.abs(want).max() + 1e-9, name


def test_the_gradient_of_the_initial_state_is_that_of_differences(model):
    tokens = text_rows(model, 1, 12)
    state = model.loss_and_gradients(tokens).state
    name = next(k for k in state if "ssm" in k or "scan" in k or state[k].ndim > 2)
    g = model.loss_and_gradients(tokens, state=state)
    index = np.unravel_index(np.abs(g.dstate[name]).argmax(), g.dstate[name].shape)
    losses = []
    for step in (1e-2, -1e-2):
        moved = {k: v.copy() for k, v in state.items()}
        moved[name][index] += step
        losses.append(model.loss_and_gradients(tokens, state=moved).loss)
    assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(g.dstate[name][index], rel=2e-2)


def test_results_outlive_what_made_them(run):
    model = natrix.open(run, backend="cpu", trainable=True)
    tokens = text_rows(model, 1)
    session = model.session()
    session.feed(tokens[0])
    g, scores, logits = model.loss_and_gradients(tokens), model.score(tokens), session.logits()
    copies = [g.parameters[k].copy() for k in sorted(g.parameters)] + [scores.logits.copy(), logits.copy()]
    del model
    gc.collect()
    session.feed(tokens[0])  # it keeps the model alive
    del session
    gc.collect()
    for a, b in zip([g.parameters[k] for k in sorted(g.parameters)] + [scores.logits, logits], copies):
        np.testing.assert_array_equal(a, b)


def test_other_python_threads_run_meanwhile(model):
    tokens = np.tile(text_rows(model, 1), (1, 400))
    want = model.score(tokens[:, :480]).loss
    found, ticks, done = [], 0, threading.Event()
    worker = threading.Thread(target=lambda: (model.score(tokens), found.append(1), done.set()))
    worker.start()
    while not done.is_set():
        ticks += 1
        done.wait(0.0001)
    worker.join()
    assert found and ticks > 1
    assert model.score(tokens[:, :480]).loss == want


def test_a_trainer_lowers_the_loss(run):
    model = natrix.open(run, backend="cpu", trainable=True)
    trainer = natrix.Trainer(model, lr=1e-2)
    tokens = text_rows(model)
    losses = [trainer.step(tokens) for _ in range(8)]
    assert losses[-1] < losses[0] and trainer.steps_done == 8 and trainer.grad_norm > 0


def test_saved_parameters_come_back(run, tmp_path):
    model = natrix.open(run, backend="cpu", trainable=True)
    values = model.parameters()
    model.set_parameters({name: value * 0.5 for name, value in values.items()})
    model.save(tmp_path / "half")
    again = natrix.open(tmp_path / "half", backend="cpu", trainable=True).parameters()
    for name, value in values.items():
        np.testing.assert_array_equal(again[name], value * 0.5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m: natrix.open("/nowhere"), "/nowhere"),
        (lambda m: natrix.open(m.directory, backend="gpu"), "gpu"),
        (lambda m: m.score([[1, 2], [3, 4]][0] + [999]), "999"),
        (lambda m: m.score(np.zeros((2, 2, 2), int)), "[B, T]"),
        (lambda m: m.score([0.5, 1.0]), "integers"),
        (lambda m: m.session().feed([[1, 2]]), "[T]"),
        (lambda m: m.session().logits(), "at least one token"),
        (lambda m: m.loss_and_gradients([1, 2, 3], state={"nothing": np.zeros(3)}), "nothing"),
        (lambda m: m.set_parameters({"nothing": np.zeros(3)}), "nothing"),
        (lambda m: m.session().from_bytes(b"not a state"), "state"),
        (lambda m: next(m.session().generate(temp=-1)), "temp"),
        (lambda m: natrix.Trainer(m).step(), "at least one batch"),
        (lambda m: natrix.read_metrics("/nowhere"), "/nowhere"),
        (lambda m: natrix.train("/nowhere.yaml"), "/nowhere.yaml"),
        (lambda m: natrix.train({"model": {"pattern": "ME"}, "run": {"dir": "x"}}), "d_model"),
    ],
)
def test_an_error_says_what_to_change(model, call, words):
    with pytest.raises(natrix.InputError) as raised:
        call(model)
    assert words in str(raised.value)
    assert isinstance(raised.value, natrix.Error) and isinstance(raised.value, ValueError)


def test_a_callback_stops_a_run_that_then_goes_on(run, tmp_path):
    config = run / "config.yaml"
    steps = []

    def stop_at_ten(metrics):
        steps.append(metrics["step"])
        return metrics["step"] < 10

    settings = {"run__dir": str(tmp_path / "stopped"), "train__steps": 2000, "checkpoint__every": 0, "log__every": 5}
    natrix.train(config, stop_at_ten, **settings)
    assert steps[0] == 5 and steps[-1] < 2000
    more = []
    natrix.train(config, lambda m: more.append(m["step"]) or False, **settings)
    assert more[0] > steps[-1]


def test_plan_returns_meshes(run):
    plans = natrix.plan(run / "config.yaml", 2, "h100")
    assert json.dumps(plans) and plans["plans"]


@pytest.mark.parametrize("script, words", [("exact_or_truncated.py", "exact"), ("prefix_states.py", "read")])
def test_examples_of_reading(run, tmp_path, script, words):
    (tmp_path / "long.txt").write_text("the light was upon the face of the deep. " * 60)
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, run, "long.txt"] + (["the "] if script[0] == "p" else []),
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )
    assert words in done.stdout
    if script[0] == "e":
        exact, truncated = (float(line.split()[-1]) for line in done.stdout.splitlines())
        assert exact < 1e-4 < truncated


def test_example_of_training(run):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "generated_batches.py", run, "12"], capture_output=True, text=True, check=True
    )
    losses = [float(line.split("loss ")[1].split()[0]) for line in done.stdout.splitlines()]
    assert losses[-1] < losses[0]
