#!/usr/bin/env python3
"""Times torch's scaled_dot_product_attention as bench_attention times ours: causal, 8 heads of 64, 2 heads of keys.

    attention.py [--threads N] [--tokens T]     milliseconds of the fastest repetition, wall clock and processor

On a machine that others use too, compare processor time with one thread.
"""

import argparse
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

SECONDS, LEAST = 4.0, 3


def best(run, clock):
    run()
    fastest, begin, repetitions = float("inf"), time.perf_counter(), 0
    while repetitions < LEAST or time.perf_counter() - begin < SECONDS:
        start = clock()
        run()
        fastest = min(fastest, clock() - start)
        repetitions += 1
    return 1e3 * fastest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=4096)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    q, dy = torch.randn(1, 8, args.tokens, 64), torch.randn(1, 8, args.tokens, 64)
    k, v = torch.randn(1, 2, args.tokens, 64), torch.randn(1, 2, args.tokens, 64)

    def attention():
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def forward():
        with torch.no_grad():
            attention()

    def forward_backward():
        for x in (q, k, v):
            x.grad = None
        attention().backward(dy)

    for x in (q, k, v):
        x.requires_grad_(True)
    for name, run in ("forward", forward), ("forward_backward", forward_backward):
        wall, processor = best(run, time.perf_counter), best(run, time.process_time)
        print(f"{name:20} T {args.tokens}  threads {args.threads}  {wall:9.2f} ms  {processor:9.2f} ms of processors")


if __name__ == "__main__":
    main()
