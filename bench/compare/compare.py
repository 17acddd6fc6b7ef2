#!/usr/bin/env python3
"""Compares Natrix with its peers, interleaved, minimum of several rounds; writes a table and its figures as JSON.

    compare.py --build BUILD --models DIR --convert SCRIPT [--rounds N] [--rows REGEX] [--threads 1,2] [--out DIR]

Each row is one piece of work. In every round each peer and natrix have a process of their own, one after the other, so
that what disturbs the machine disturbs them alike; the fastest round counts. What takes a minute or more runs in the first
round only. Before that the peers of a row show that they compute the same.
"""

import argparse
import datetime
import importlib.metadata
import json
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import long_sequences

HERE = Path(__file__).parent

# What natrix runs for a row: program, pattern of the case's name, and the target as a ratio to the best peer.
ROWS = [
    {"name": "scan forward, d_inner 1536, N 16", "work": "scan", "peers": ["torch", "mamba.py"],
     "natrix": ("bench_scan", "scan_forward/B 1  T 512  I 1536  N 16"), "unit": "ns", "target": 30},
    {"name": "scan forward and backward", "work": "scan-backward", "peers": ["torch", "mamba.py"],
     "cannot": {"torch": "a loop over time that keeps every state; it takes a minute, 40 times mamba.py's"},
     "natrix": ("bench_scan", "scan_forward_backward/B 1  T 512  I 1536  N 16"),
     "unit": "ns", "target": 25},
    {"name": "training step, Mamba-130M, length 256", "work": "mamba-130m:256", "peers": ["hf", "mamba.py"], "same": True,
     "natrix": ("bench_model", "train/Mamba-130M.*T 256  "), "unit": "tokens/s", "target": 5},
    {"name": "training step, Mamba-130M, length 2048", "work": "mamba-130m:2048", "peers": ["hf", "mamba.py"],
     "cannot": {"hf": "a loop over time that keeps every state; one step takes ten minutes"},
     "natrix": ("bench_model", "train/Mamba-130M.*T 2048  chunk 2048"), "unit": "tokens/s", "target": 5},
    {"name": "training step, Jamba-class MoE, length 512, batch 4", "work": "jamba-moe", "peers": ["hf", "mamba.py"],
     "cannot": {"hf": "a loop over time that keeps every state; one step takes four minutes"},
     "same": True, "natrix": ("bench_model", "train/Jamba-MoE"), "unit": "tokens/s", "target": 5},
    {"name": "prefill, Mamba-130M, 512 tokens, f32", "work": "mamba-130m/prefill:512", "peers": ["llama.cpp"],
     "same": True, "natrix": ("bench_model", "prefill/Mamba-130M  T 512"), "unit": "tokens/s", "target": 2},
    {"name": "decode, Mamba-130M, f32", "work": "mamba-130m/decode", "peers": ["llama.cpp"],
     "natrix": ("bench_model", "decode/Mamba-130M  f32"), "unit": "tokens/s", "target": 1.2},
    {"name": "prefill, Jamba-class MoE of 300M, 512 tokens, f32", "work": "jamba-300m/prefill:512",
     "peers": ["llama.cpp"], "same": True, "natrix": ("bench_model", "prefill/Jamba-300M  T 512"), "unit": "tokens/s",
     "target": 2},
    {"name": "decode, Jamba-class MoE of 300M, f32", "work": "jamba-300m/decode", "peers": ["llama.cpp"],
     "natrix": ("bench_model", "decode/Jamba-300M  f32"), "unit": "tokens/s", "target": 1.2},
    {"name": "decode, Mamba-130M, int8 against q8_0", "work": "mamba-130m/decode", "type": "q8_0", "peers": ["llama.cpp"],
     "natrix": ("bench_model", "decode/Mamba-130M  int8"), "unit": "tokens/s", "target": 1.2},
    {"name": "decode, Jamba-class MoE of 300M, int8 against q8_0", "work": "jamba-300m/decode", "type": "q8_0",
     "peers": ["llama.cpp"], "natrix": ("bench_model", "decode/Jamba-300M  int8"), "unit": "tokens/s", "target": 1.2},
]


def leave_some_memory():
    """Makes a peer that needs too much memory end with its own error. Without a limit, some machines freeze."""
    available = next(int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines()
                     if line.startswith("MemAvailable"))
    resource.setrlimit(resource.RLIMIT_DATA, (available * 9 // 10,) * 2)


def run_json(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, preexec_fn=leave_some_memory)
    if done.returncode != 0:
        out_of_memory = " (out of memory, mostly)" if done.returncode == -signal.SIGKILL else ""
        ended = f"ended by signal {-done.returncode}{out_of_memory}" if done.returncode < 0 else "no message"
        raise RuntimeError((done.stderr.strip() or ended).splitlines()[-1])
    return json.loads(done.stdout)


class Peers:
    """The peers: those in PyTorch run by torch_peers.py, llama.cpp by llama_peer.py."""

    def __init__(self, models, convert):
        self.models, self.convert = models, convert

    def make(self, row):
        if "llama.cpp" in row["peers"]:
            run_json([sys.executable, HERE / "llama_peer.py", "make", row["work"].split("/")[0], self.models, self.convert])

    def time(self, peer, row, threads):
        """Seconds per item."""
        if peer == "llama.cpp":
            model, work = row["work"].split("/")
            command = ["llama_peer.py", "time", model, self.models, work, "--type", row.get("type", "f32")]
        else:
            command = ["torch_peers.py", "time", peer, row["work"]]
        got = run_json([sys.executable, HERE / command[0], *command[1:], "--threads", threads])
        return got["seconds"] / got["items"]

    def check_same(self, row, natrix):
        """Returns what was compared: the losses, or the distance of the logits. Exits if they differ."""
        if "llama.cpp" in row["peers"]:
            got = run_json([sys.executable, HERE / "llama_peer.py", "same", row["work"].split("/")[0], self.models, natrix])
            spread, most = got["difference"], 1e-4
        else:
            got = run_json([sys.executable, HERE / "torch_peers.py", "same", natrix, row["work"]])
            spread, most = (max(got.values()) - min(got.values())) / got["hf"], 1e-5
        if not spread <= most:
            sys.exit(f"{row['name']}: not the same result, {got}")
        return got


def time_natrix(build, row, threads):
    """(seconds per item, % of the ceiling that binds, all ceilings): the sum, and the mean by time, over matching cases."""
    program, pattern = row["natrix"]
    report = run_json([build / "bench" / program, "--json", "--threads", threads, f"--benchmark_filter={pattern}"])
    rows = report.get("rows") or sys.exit(f"{program} has no case {pattern}")
    seconds = sum(r["seconds_each"] for r in rows)
    return seconds, sum(r["percent"] * r["seconds_each"] for r in rows) / seconds, report["ceilings"][0]


def figure(seconds_an_item, unit):
    return seconds_an_item * 1e9 if unit == "ns" else 1 / seconds_an_item


def measure(row, peers, build, rounds, threads):
    best, errors, percent, ceilings, too_slow = {}, dict(row.get("cannot", {})), 0.0, {}, set()
    for _ in range(rounds):
        for peer in row["peers"]:
            if peer in errors or peer in too_slow:
                continue
            begin = time.monotonic()
            try:
                best[peer] = min(best.get(peer, float("inf")), peers.time(peer, row, threads))
            except RuntimeError as e:
                errors[peer] = str(e)
            if time.monotonic() - begin > 60:
                too_slow.add(peer)
        seconds, of_ceiling, now = time_natrix(build, row, threads)
        ceilings = {k: max(v, ceilings.get(k, 0)) for k, v in now.items()}
        if seconds < best.get("natrix", float("inf")):
            best["natrix"], percent = seconds, of_ceiling
    of_peers = [best[p] for p in row["peers"] if p in best]
    ratio = min(of_peers) / best["natrix"] if of_peers else None
    return {"row": row["name"], "threads": threads, "unit": row["unit"],
            "figures": {who: figure(s, row["unit"]) for who, s in best.items()}, "errors": errors,
            "percent_of_ceiling": percent, "ratio_to_best_peer": ratio, "target": row["target"],
            "ceilings": ceilings}


def note_scaling(results):
    """Adds to each result how much faster natrix is than with one thread, in the same row."""
    for result in results:
        one = next((r for r in results if r["row"] == result["row"] and r["threads"] == 1), None)
        if one and result["threads"] > 1:
            rates = [f if result["unit"] != "ns" else 1 / f for f in (result["figures"]["natrix"], one["figures"]["natrix"])]
            result["times_one_thread"] = rates[0] / rates[1]


def line(result):
    def cell(who):
        return f"{result['figures'][who]:.3g}" if who in result["figures"] else "–"
    ratio = f"{result['ratio_to_best_peer']:.1f}×" if result["ratio_to_best_peer"] else "–"
    return (f"| {result['row']} | {result['threads']} | {result['unit']} | {cell('torch')} | {cell('hf')} | "
            f"{cell('mamba.py')} | {cell('llama.cpp')} | **{cell('natrix')}** | {ratio} (≥ {result['target']}×) | "
            f"{result['percent_of_ceiling']:.0f} % | "
            f"{format(result['times_one_thread'], '.2f') + '×' if 'times_one_thread' in result else ''} |")


def ceilings_line(results, threads):
    best = {}
    for r in results:
        if r["threads"] == threads:
            best = {k: max(v, best.get(k, 0)) for k, v in r["ceilings"].items()}
    return (f"Ceilings of {threads} thread{'s' if threads > 1 else ''}: {best['gflops']:.0f} GFLOP/s f32, "
            f"{best['gexps']:.2f} Gexp/s, {best['gbytes']:.1f} GB/s copied, {best['gbytes_read']:.1f} GB/s read.")


def processor():
    """Clouds hide the model's name, so its family and widest vectors tell processors apart."""
    said = {}
    for entry in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
        key, _, value = entry.partition(":")
        said[key.strip()] = value.strip()
    flags = said.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{said.get('model name', 'unknown')}, family {said.get('cpu family', '?')}, {vectors}"


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--build", type=Path, required=True, help="a build directory")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rows", default="", help="regular expression over names of rows")
    arguments.add_argument("--threads", default="1,2")
    arguments.add_argument("--out", type=Path, default=HERE.parent / "results")
    arguments.add_argument("--models", type=Path, required=True, help="where models for llama.cpp are made, and kept")
    arguments.add_argument("--convert", type=Path, required=True, help="llama.cpp's convert_hf_to_gguf.py")
    options = arguments.parse_args()

    versions = {p: importlib.metadata.version(p) for p in ("torch", "transformers", "mambapy", "llama_cpp_python")}
    rows = [r for r in ROWS if re.search(options.rows, r["name"])]
    all_threads = [int(t) for t in options.threads.split(",")]
    peers = Peers(options.models, options.convert)
    for row in rows:
        peers.make(row)
    same = {r["name"]: peers.check_same(r, options.build / "launch" / "natrix") for r in rows if r.get("same")}
    head = ["| work | threads | unit | torch loop | HF | mamba.py | llama.cpp | natrix | to the best peer | of the ceiling | to 1 thread |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]
    print("\n".join(head), flush=True)
    results = []
    for row in rows:
        for threads in all_threads:
            results.append(measure(row, peers, options.build, options.rounds, threads))
            note_scaling(results)
            print(line(results[-1]), flush=True)
    long_rows = []
    if re.search(options.rows, "long sequences"):
        long_rows = long_sequences.measure(options.build / "launch" / "natrix", max(all_threads))
        print("\n".join([*long_sequences.HEAD, *map(long_sequences.line, long_rows)]), flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    name = slug(processor())
    date = datetime.date.today().isoformat()
    (options.out / f"{name}.json").write_text(json.dumps(
        {"date": date, "processor": processor(), "versions": versions, "same": same, "rows": results,
         "long_sequences": long_rows}, indent=2))
    said = [f"{r['row']}, {r['threads']} threads, {who}: {why}" for r in results for who, why in r["errors"].items()]
    (options.out / f"{name}.md").write_text("\n".join(
        [f"# {processor()}, {date}", "", ", ".join(f"{p} {v}" for p, v in versions.items()) +
         f"; minimum of {options.rounds} rounds. Made by `bench/compare.sh`.", "",
         *(ceilings_line(results, t) for t in all_threads if results), "", *head, *map(line, results), "",
         *long_sequences.HEAD, *map(long_sequences.line, long_rows), "", *said]) + "\n")


if __name__ == "__main__":
    main()
