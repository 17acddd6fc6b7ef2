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


def train(natrix, folder, length, chunk, threads, steps, dir_name):
    """Seconds a token of the fastest exact step, and peak resident bytes."""
    data = write_bytes(folder / f"{length}.bin", length * (steps + 1))
    run = folder / dir_name
    subprocess.run([natrix, "train", REPOSITORY / "configs" / "quickstart.yaml", f"run.dir={run}",
                    f"data.train=[{data}]", "data.eval=[]", "data.documents=joined", f"sequence.length={length}",
                    f"sequence.chunk={chunk}", "model.repeat=1", f"train.steps={steps}", "train.batch_size=1",
                    "optimizer.warmup_steps=0", "train.eval_every=0",
                    f"device.threads={threads}", "log.every=1", "checkpoint.every=0", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [s for s in steps if "seconds" in s]
    return min(s["seconds"] for s in steps) / length, max(s["memory_bytes"] for s in steps)


def prefill(natrix, model, text, threads):
    """The process that reads `text` and says how fast it was."""
    return subprocess.Popen([natrix, "generate", model, "--prompt-file", text, "-n", "0", "--ignore-eos", "--json",
                             "--quiet", "--threads", str(threads)], stdout=subprocess.PIPE, text=True)


def finish(reader):
    """What a reader said at its end."""
    said, _ = reader.communicate()
    if reader.returncode != 0:
        raise SystemExit(f"natrix generate ended with status {reader.returncode}")
    return json.loads(said)


def prefills(natrix, folder, model, few, many, threads):
    """Seconds a token and peak memory of a short and of a long prefill.

    A machine that others share is up to twice as fast in one minute as in the next. So the long one, of minutes, is
    stopped every few seconds for a short one, and its mean is compared with theirs.
    """
    short_text, long_text = (write_bytes(folder / f"prompt-{n}.bin", n) for n in (few, many))
    shorts, stopped = [], 0.0
    reader = prefill(natrix, model, long_text, threads)
    while reader.poll() is None:
        time.sleep(6)
        began = time.monotonic()
        reader.send_signal(signal.SIGSTOP)
        shorts.append(finish(prefill(natrix, model, short_text, threads)))
        reader.send_signal(signal.SIGCONT)
        stopped += time.monotonic() - began
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
        whole = train(natrix, folder, 16384, 16384, threads, 4, "whole")
        cut = train(natrix, folder, 16384, 4096, threads, 2, "cut")
        long = train(natrix, folder, 1 << 20, 4096, threads, 1, "long")
        row = compare("exact training, 1,048,576 tokens in chunks of 4096 against 16,384 in one", whole, long, 1.4)
        row["memory_bytes"]["short, in chunks of 4096"] = cut[1]
        short, many = prefills(natrix, folder, folder / "whole", 100_000, 10_000_000, threads)
        return [row, compare("prefill, 10,000,000 tokens, stopped every few seconds for 100,000", short, many, 1.05)]


def line(row):
    mebibytes = {name: f"{count / 2**20:.0f} MiB" for name, count in row["memory_bytes"].items()}
    seconds = row["seconds_a_token"]
    return (f"| {row['row']} | {1 / seconds['short']:.0f} | {1 / seconds['long']:.0f} | "
            f"{row['ratio']:.2f}× (≤ {row['target']}×) | {', '.join(f'{n} {m}' for n, m in mebibytes.items())} |")


HEAD = ["| against itself | tokens/s, short | tokens/s, long | time a token | memory |", "|---|---|---|---|---|"]
