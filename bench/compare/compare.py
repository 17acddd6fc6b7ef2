#!/usr/bin/env python3
"""Natrix beside its peers, interleaved, minimum of several rounds; writes a table and its figures as JSON.

    compare.py --build BUILD [--rounds N] [--rows REGEX] [--threads 1,2] [--out DIR]

Each row is one piece of work. In every round each peer and natrix have a process of their own, one after the other, so
that what disturbs the machine disturbs them alike; the fastest round counts. Before that the peers of a row show that
they compute the same loss.
"""

import argparse
import datetime
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

# What natrix runs for a row: program, the case's name as a pattern, and the target as a ratio to the best peer.
ROWS = [
    {"name": "scan forward, d_inner 1536, N 16", "work": "scan", "peers": ["torch", "mamba.py"],
     "natrix": ("bench_scan", "scan_forward/B 1  T 512  I 1536  N 16"), "unit": "ns", "target": 30},
    {"name": "scan forward and backward", "work": "scan-backward", "peers": ["torch", "mamba.py"],
     "natrix": ("bench_scan", "scan_forward_backward/B 1  T 512  I 1536  N 16"),
     "unit": "ns", "target": 25},
    {"name": "training step, Mamba-130M, length 256", "work": "mamba-130m:256", "peers": ["hf", "mamba.py"], "same": True,
     "natrix": ("bench_model", "train/Mamba-130M.*T 256  "), "unit": "tokens/s", "target": 5},
    {"name": "training step, Mamba-130M, length 2048", "work": "mamba-130m:2048", "peers": ["hf", "mamba.py"],
     "natrix": ("bench_model", "train/Mamba-130M.*T 2048  chunk 512"), "unit": "tokens/s", "target": 5},
    {"name": "training step, Jamba-class MoE, length 512, batch 4", "work": "jamba-moe", "peers": ["hf", "mamba.py"],
     "same": True, "natrix": ("bench_model", "train/Jamba-MoE"), "unit": "tokens/s", "target": 5},
]


def run_json(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
    return json.loads(done.stdout)


def time_peer(peer, row, threads):
    got = run_json([sys.executable, HERE / "torch_peers.py", "time", peer, row["work"], "--threads", threads])
    return got["seconds"] / got["items"]


def time_natrix(build, row, threads):
    """(seconds an item, % of the ceiling that binds); where a pattern names several cases they follow one another."""
    program, pattern = row["natrix"]
    report = run_json([build / "bench" / program, "--json", "--threads", threads, f"--benchmark_filter={pattern}"])
    rows = report["rows"]
    seconds = sum(r["seconds_each"] for r in rows)
    return seconds, sum(r["percent"] * r["seconds_each"] for r in rows) / seconds


def figure(seconds_an_item, unit):
    return seconds_an_item * 1e9 if unit == "ns" else 1 / seconds_an_item


def measure(row, build, rounds, threads):
    best, errors, percent = {}, {}, 0.0
    for _ in range(rounds):
        for peer in row["peers"]:
            if peer in errors:
                continue
            try:
                best[peer] = min(best.get(peer, float("inf")), time_peer(peer, row, threads))
            except RuntimeError as e:
                errors[peer] = str(e)
        seconds, of_ceiling = time_natrix(build, row, threads)
        if seconds < best.get("natrix", float("inf")):
            best["natrix"], percent = seconds, of_ceiling
    ratio = min((best[p] for p in row["peers"] if p in best), default=float("nan")) / best["natrix"]
    return {"row": row["name"], "threads": threads, "unit": row["unit"],
            "figures": {who: figure(s, row["unit"]) for who, s in best.items()}, "errors": errors,
            "percent_of_ceiling": percent, "ratio_to_best_peer": ratio, "target": row["target"]}


def check_same(row, build):
    losses = run_json([sys.executable, HERE / "torch_peers.py", "same", build / "launch" / "natrix", row["work"]])
    spread = (max(losses.values()) - min(losses.values())) / losses["hf"]
    if spread > 1e-5:
        sys.exit(f"{row['name']}: losses differ, {losses}")
    return losses


def line(result):
    def cell(who):
        return f"{result['figures'][who]:.3g}" if who in result["figures"] else "–"
    return (f"| {result['row']} | {result['threads']} | {result['unit']} | {cell('torch')} | {cell('hf')} | "
            f"{cell('mamba.py')} | **{cell('natrix')}** | {result['ratio_to_best_peer']:.1f}× (≥ {result['target']}×) | "
            f"{result['percent_of_ceiling']:.0f} % |")


def processor():
    for entry in Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            return entry.split(":")[1].strip()
    return "unknown"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--build", type=Path, required=True, help="a build directory")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rows", default="", help="regular expression over names of rows")
    arguments.add_argument("--threads", default="1,2")
    arguments.add_argument("--out", type=Path, default=HERE.parent / "results")
    options = arguments.parse_args()

    versions = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "mambapy")}
    rows = [r for r in ROWS if re.search(options.rows, r["name"])]
    same = {r["name"]: check_same(r, options.build) for r in rows if r.get("same")}
    head = ["| work | threads | unit | torch loop | HF | mamba.py | natrix | to the best peer | of the ceiling |",
            "|---|---|---|---|---|---|---|---|---|"]
    print("\n".join(head), flush=True)
    results = []
    for row in rows:
        for threads in map(int, options.threads.split(",")):
            results.append(measure(row, options.build, options.rounds, threads))
            print(line(results[-1]), flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    date = datetime.date.today().isoformat()
    (options.out / f"{name}.json").write_text(json.dumps(
        {"date": date, "processor": processor(), "versions": versions, "same_loss": same, "rows": results}, indent=2))
    said = [f"{r['row']}, {r['threads']} threads, {who}: {why}" for r in results for who, why in r["errors"].items()]
    (options.out / f"{name}.md").write_text("\n".join(
        [f"# {processor()}, {date}", "", ", ".join(f"{p} {v}" for p, v in versions.items()) +
         f"; minimum of {options.rounds} rounds. Made by `bench/compare.sh`.", "", *head, *map(line, results), "", *said]) + "\n")


if __name__ == "__main__":
    main()
