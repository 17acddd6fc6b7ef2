#!/usr/bin/env python3
"""Compares two ranks of one thread with one process of two threads: tokens/s of each layout, and which part of its
communication was hidden behind compute.

    bench/ranks.py [--natrix PROGRAM] [--rounds N] [--steps N] [--out DIR] [section.key=value …]

The work is a step of configs/quickstart.yaml on random bytes. In every round each layout has a run of its own, one after
the other, so that what disturbs the machine disturbs them alike; the fastest step of all rounds counts.
"""

import argparse
import datetime
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "bench" / "compare"))
from compare import processor, slug  # noqa: E402

LAYOUTS = {
    "one process, 2 threads": None,
    "dp 2": ["parallel.dp=2"],
    "dp 2, zero 1": ["parallel.dp=2", "parallel.zero=1"],
    "dp 2, ep 2": ["parallel.dp=2", "parallel.ep=2"],
    "cp 2, relay": ["parallel.cp=2"],
    "cp 2, scan": ["parallel.cp=2", "parallel.cp_link=scan"],
}
TRAVELLED = re.compile(r"(gradients.*|experts' rows) travelled for .*, (-?\d+) % of it while")


def command(natrix, settings, run, data, steps, overrides):
    own = ["train", REPOSITORY / "configs" / "quickstart.yaml", f"run.dir={run}", f"data.train=[{data}]", "data.eval=[]",
           "train.eval_every=0", f"train.steps={steps}", "optimizer.warmup_steps=0", "log.every=1", "checkpoint.every=0",
           "--quiet", *overrides]
    if settings is None:
        return [natrix, *own, "device.threads=2"]
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-n", "2", natrix, *own, *settings, "device.threads=1"]


def run_layout(natrix, settings, data, steps, overrides):
    """Tokens/s of the fastest step, and the percentage of each kind of communication that was hidden."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        subprocess.run(command(natrix, settings, run, data, steps, overrides), check=True, stdout=subprocess.DEVNULL)
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        rate = max(s["tokens_per_second"] for s in lines if "tokens_per_second" in s)
        said = TRAVELLED.findall((run / "natrix.log").read_text())
        return rate, {what: int(percent) for what, percent in said}


def table(results):
    yield "| layout | tokens/s | to one process | gradients hidden | experts' rows hidden |"
    yield "|---|---|---|---|---|"
    one = results["one process, 2 threads"]["tokens_per_second"]
    for name, r in results.items():
        def share(prefix, hidden=r["hidden"]):
            return next((f"{p} %" for what, p in hidden.items() if what.startswith(prefix)), "–")

        yield (f"| {name} | {r['tokens_per_second']:,.0f} | {r['tokens_per_second'] / one:.2f}× | {share('gradients')} | "
               f"{share('experts')} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--natrix", type=Path, default=REPOSITORY / "build" / "release" / "launch" / "natrix")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    arguments.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = arguments.parse_args()

    results = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "bytes.bin"
        data.write_bytes(random.Random(1).randbytes(1 << 20).replace(b"\0", b"\1"))
        for _ in range(options.rounds):
            for layout, settings in LAYOUTS.items():
                rate, hidden = run_layout(options.natrix, settings, data, options.steps, options.overrides)
                if layout not in results or rate > results[layout]["tokens_per_second"]:
                    results[layout] = {"tokens_per_second": rate, "hidden": hidden}
    date = datetime.date.today().isoformat()
    text = "\n".join([f"# Ranks on {processor()}, {date}", "",
                      f"A step of configs/quickstart.yaml{' with ' + ' '.join(options.overrides) if options.overrides else ''}; "
                      f"fastest of {options.rounds} × {options.steps} steps. Made by `bench/ranks.py`.", "", *table(results), ""])
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"ranks-{slug(processor())}"
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(
        {"date": date, "processor": processor(), "overrides": options.overrides, "layouts": results}, indent=2) + "\n")
    print(text)


if __name__ == "__main__":
    main()
