#!/usr/bin/env python3
"""Measures training steps of mamba_ssm, for comparison with `natrix train` in bench/gpu_acceptance.sh: Mamba-130M, 8
rows of 2048 tokens, bf16 autocast with weights in f32, AdamW. Prints one JSON object. Exit status 3 if torch, mamba_ssm
or a GPU is missing.

Not run yet on any machine: it needs a GPU.
"""

import json
import sys
import time

try:
    import torch
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(3)
if not torch.cuda.is_available():
    print("skipped: torch sees no GPU")
    sys.exit(3)

ROWS, LENGTH, WARM, STEPS = 8, 2048, 5, 20

# The vocabulary of bytes that natrix train uses, so that both have the same head.
config = MambaConfig(d_model=768, n_layer=24, vocab_size=257, pad_vocab_size_multiple=1)
model = MambaLMHeadModel(config, device="cuda", dtype=torch.float32)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
tokens = torch.randint(0, 256, (ROWS, LENGTH + 1), device="cuda")


def step():
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits = model(tokens[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


for _ in range(WARM):
    step()
torch.cuda.synchronize()
begin = time.perf_counter()
for _ in range(STEPS):
    step()
torch.cuda.synchronize()
seconds = (time.perf_counter() - begin) / STEPS
print(json.dumps({"peer": "mamba_ssm", "tokens_per_second": ROWS * LENGTH / seconds,
                  "memory_bytes": torch.cuda.max_memory_allocated()}))
