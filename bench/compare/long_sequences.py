"""Long sequences against short ones of the same model, by the program itself: time a token and peak memory.

    exact training of one sequence of 1,048,576 tokens in chunks of 4096, against 16,384 in one piece
    a prefill of 10 million tokens, against 100 thousand

The model is one block of the quickstart's (configs/quickstart.yaml), on random bytes.
"""

import json
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def write_bytes(path, count):
    path.write_bytes(random.Random(1).randbytes(count).replace(b"\0", b"\1"))
    return path


def between(process, work):
    """Stops a long process every few seconds to run work(), and returns for how long it was stopped in all.

    A shared machine is up to twice as fast in one minute as in the next. Interleaving the short runs with the long one
    lets their means be compared.
    """
    stopped = 0.0
    while True:
        time.sleep(6)
        if process.poll() is not None:
            return stopped
        began = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        work()
        process.send_signal(signal.SIGCONT)
        stopped += time.monotonic() - began


def train(natrix, folder, length, chunk, threads, steps, dir_name):
    """Starts a process that takes exact steps of one sequence. Returns it and the file of its metrics."""
    data = write_bytes(folder / f"{length}.bin", length * (steps + 1))
    run = folder / dir_name
    process = subprocess.Popen(
        [natrix, "train", REPOSITORY / "configs" / "quickstart.yaml", f"run.dir={run}", f"data.train=[{data}]",
         "data.eval=[]", "data.documents=joined", f"sequence.length={length}", f"sequence.chunk={chunk}",
         "model.repeat=1", f"train.steps={steps}", "train.batch_size=1", "optimizer.warmup_steps=0",
         "train.eval_every=0", f"device.threads={threads}", "log.every=1", "checkpoint.every=0", "--quiet"],
        stdout=subprocess.DEVNULL)
    return process, run / "metrics.jsonl"


def steps_of(trained):
    """The metrics that a run logged for its steps."""
    process, metrics = trained
    if process.wait() != 0:
        raise SystemExit(f"natrix train ended with status {process.returncode}")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [s for s in steps if "seconds" in s]


def exact_steps(natrix, folder, threads):
    """Seconds per token and peak memory of short exact steps in one piece and of a long one in chunks."""
    shorts, runs, length = [], 0, 1 << 14

    def some_short_steps():
        nonlocal runs
        runs += 1
        shorts.extend(steps_of(train(natrix, folder, length, length, threads, 4, f"whole-{runs}"))[1:])

    long = train(natrix, folder, 1 << 20, 4096, threads, 1, "long")
    stopped = between(long[0], some_short_steps)
    step, = steps_of(long)
    return ((sum(s["seconds"] for s in shorts) / len(shorts) / length, max(s["memory_bytes"] for s in shorts)),
            ((step["seconds"] - stopped) / (1 << 20), step["memory_bytes"]))


def prefill(natrix, model, text, threads):
    """Starts a process that reads `text` and reports its speed."""
    return subprocess.Popen([natrix, "generate", model, "--prompt-file", text, "-n", "0", "--ignore-eos", "--json",
                             "--quiet", "--threads", str(threads)], stdout=subprocess.PIPE, text=True)


def finish(reader):
    """The report of a reader that has ended."""
    said, _ = reader.communicate()
    if reader.returncode != 0:
        raise SystemExit(f"natrix generate ended with status {reader.returncode}")
    return json.loads(said)


def prefills(natrix, folder, model, few, many, threads):
    """Seconds per token and peak memory of short prefills and of a long one."""
    short_text, long_text = (write_bytes(folder / f"prompt-{n}.bin", n) for n in (few, many))
    shorts = []
    reader = prefill(natrix, model, long_text, threads)
    stopped = between(reader, lambda: shorts.append(finish(prefill(natrix, model, short_text, threads))))
    said = finish(reader)
    short = sum(1 / s["read_tokens_per_second"] for s in shorts) / len(shorts)
    long = 1 / said["read_tokens_per_second"] - stopped / many
    return (short, max(s["peak_memory_bytes"] for s in shorts)), (long, said["peak_memory_bytes"])


def compare(what, short, long, target):
    return {"row": what, "seconds_a_token": {"short": short[0], "long": long[0]},
            "memory_bytes": {"short": short[1], "long": long[1]}, "ratio": long[0] / short[0], "target": target}


def measure(natrix, threads):
    """The two rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, long = exact_steps(natrix, folder, threads)
        cut = steps_of(train(natrix, folder, 1 << 14, 4096, threads, 2, "cut"))
        row = compare("exact training, 1,048,576 tokens in chunks of 4096, stopped every few seconds for 16,384 in one",
                      whole, long, 1.4)
        row["memory_bytes"]["short, in chunks of 4096"] = max(s["memory_bytes"] for s in cut)
        short, many = prefills(natrix, folder, folder / "whole-1", 100_000, 10_000_000, threads)
        return [row, compare("prefill, 10,000,000 tokens, stopped every few seconds for 100,000", short, many, 1.05)]


def line(row):
    mebibytes = {name: f"{count / 2**20:.0f} MiB" for name, count in row["memory_bytes"].items()}
    seconds = row["seconds_a_token"]
    return (f"| {row['row']} | {1 / seconds['short']:.0f} | {1 / seconds['long']:.0f} | "
            f"{row['ratio']:.2f}× (≤ {row['target']}×) | {', '.join(f'{n} {m}' for n, m in mebibytes.items())} |")


HEAD = ["| against itself | tokens/s, short | tokens/s, long | time a token | memory |", "|---|---|---|---|---|"]
