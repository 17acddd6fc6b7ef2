#!/usr/bin/env python3
"""Measures a peer in PyTorch once, or checks that it computes the same as natrix. Prints one JSON object.

    torch_peers.py time PEER WORK --threads N     PEER: hf, mamba.py, torch (a loop over time, of the scan alone)
    torch_peers.py same NATRIX WORK               losses of one model, by each of them

WORK: scan, scan-backward, mamba-130m:LENGTH, jamba-moe.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import torch
from mambapy.jamba import JambaLM, JambaLMConfig
from mambapy.mamba import Mamba, MambaConfig as MambaPyConfig, RMSNorm
from mambapy.pscan import pscan
from safetensors.torch import load_file, save_file
from transformers import JambaConfig, JambaForCausalLM, MambaConfig, MambaForCausalLM
from transformers.utils import logging

CHANNELS, STATES, TOKENS = 1536, 16, 512  # of the scan
SECONDS, LEAST = 4.0, 2  # spent on a measurement, and repetitions


def best(run, seconds=SECONDS):
    """Seconds of the fastest repetition. The first one is a warm-up and counts only if it took very long."""
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    if first > 10 * seconds:
        return first
    fastest, begin, repetitions = float("inf"), time.perf_counter(), 0
    while repetitions < LEAST or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
        repetitions += 1
    return fastest


def scan(peer, backward):
    x, dt = torch.randn(1, TOKENS, CHANNELS), torch.rand(1, TOKENS, CHANNELS) * 0.1
    B, C = torch.randn(1, TOKENS, STATES), torch.randn(1, TOKENS, STATES)
    A, D, dy = -torch.rand(CHANNELS, STATES) - 0.5, torch.randn(CHANNELS), torch.randn(1, TOKENS, CHANNELS)
    operands = [x, dt, A, B, C, D]
    for operand in operands:
        operand.requires_grad_(backward)

    def states(decay, input):
        if peer == "mamba.py":
            return pscan(decay, input)
        h, all_of_them = torch.zeros(1, CHANNELS, STATES), []
        for t in range(TOKENS):
            h = decay[:, t] * h + input[:, t]
            all_of_them.append(h)
        return torch.stack(all_of_them, dim=1)

    def run():
        decay = torch.exp(dt.unsqueeze(-1) * A)
        h = states(decay, dt.unsqueeze(-1) * B.unsqueeze(2) * x.unsqueeze(-1))
        y = (h @ C.unsqueeze(-1)).squeeze(3) + D * x
        if backward:
            torch.autograd.grad(y, operands, dy)

    if backward:
        return best(run)
    with torch.no_grad():
        return best(run)


def hf_mamba():
    # With the default initializer_range, 0.1, two computations of the same model agree to three digits only.
    return MambaForCausalLM(MambaConfig(vocab_size=50280, hidden_size=768, num_hidden_layers=24, state_size=16,
                                        initializer_range=0.02))


class MambaPyLM(torch.nn.Module):
    """mamba.py's layers between an embedding and a head; its own model (mambapy.lm) asks for mamba_ssm and a GPU."""

    def __init__(self):
        super().__init__()
        config = MambaPyConfig(d_model=768, n_layers=24)
        self.embedding = torch.nn.Embedding(50280, config.d_model)
        self.mamba = Mamba(config)
        self.norm_f = RMSNorm(config.d_model, config.rms_norm_eps)
        self.lm_head = torch.nn.Linear(config.d_model, 50280, bias=False)
        self.lm_head.weight = self.embedding.weight  # as transformers ties them

    def forward(self, tokens):
        return self.lm_head(self.norm_f(self.mamba(self.embedding(tokens))))


def mambapy_mamba():
    return MambaPyLM()


def hf_jamba():
    return JambaForCausalLM(JambaConfig(
        vocab_size=257, hidden_size=256, num_hidden_layers=4, intermediate_size=512, num_attention_heads=8,
        num_key_value_heads=8, attn_layer_period=5, attn_layer_offset=4, expert_layer_period=1, expert_layer_offset=0,
        num_experts=8, num_experts_per_tok=2, tie_word_embeddings=True, pad_token_id=None))


def hf_jamba_300m(layers=8):
    """Eight Mamba layers with experts; a ninth would be attention with experts."""
    return JambaForCausalLM(JambaConfig(
        vocab_size=32000, hidden_size=768, num_hidden_layers=layers, intermediate_size=1536, num_attention_heads=12,
        num_key_value_heads=12, attn_layer_period=9, attn_layer_offset=8, expert_layer_period=1, expert_layer_offset=0,
        num_experts=8, num_experts_per_tok=2, mamba_dt_rank=48, tie_word_embeddings=False, pad_token_id=None))


def mambapy_jamba():
    return JambaLM(JambaLMConfig(
        d_model=256, n_layers=4, mlp_size=512, num_attention_heads=8, num_key_value_heads=8, attn_layer_period=5,
        attn_layer_offset=4, expert_layer_period=1, expert_layer_offset=0, num_experts=8, num_experts_per_tok=2,
        vocab_size=257))


def loss_of(model, tokens):
    """The loss of the next token, for a model of either library."""
    if isinstance(model, (MambaForCausalLM, JambaForCausalLM)):
        return model(tokens, labels=tokens, use_cache=False).loss
    logits = model(tokens)
    logits = logits[0] if isinstance(logits, tuple) else logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def train(model, rows, length):
    tokens = torch.randint(1, 257, (rows, length + 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run():
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return best(run)


def measure(peer, work):
    """(seconds, items)"""
    if work in ("scan", "scan-backward"):
        return scan(peer, work == "scan-backward"), TOKENS * CHANNELS * STATES
    if work == "jamba-moe":
        return train(hf_jamba() if peer == "hf" else mambapy_jamba(), 4, 512), 4 * 512
    length = int(work.split(":")[1])
    return train(hf_mamba() if peer == "hf" else mambapy_mamba(), 1, length), length


def to_mambapy(hf):
    """Copies the weights of a transformers Mamba into mamba.py's model."""
    model = mambapy_mamba()
    names = {"backbone.embeddings.weight": "embedding.weight", "backbone.norm_f.weight": "norm_f.weight",
             "lm_head.weight": "lm_head.weight"}
    model.load_state_dict({names.get(n, n.replace("backbone.", "mamba.")): w for n, w in hf.state_dict().items()})
    return model


def same(natrix, work):
    """The loss of one model in transformers, natrix and, where its layers can take the weights, mamba.py."""
    torch.manual_seed(1)
    rows, length = (4, 512) if work == "jamba-moe" else (1, int(work.split(":")[1]))
    model = hf_jamba() if work == "jamba-moe" else hf_mamba()
    tokens = torch.randint(1, 257, (rows, length))
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        folder = Path(scratch)
        model.save_pretrained(folder / "model")
        save_file({"tokens": tokens}, folder / "tokens.safetensors")
        subprocess.run([natrix, "score", folder / "model", "--tokens", folder / "tokens.safetensors", "--out",
                        folder / "scores.safetensors", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        losses = {"natrix": load_file(folder / "scores.safetensors")["loss"].item(), "hf": loss_of(model, tokens).item()}
        if work != "jamba-moe":
            losses["mamba.py"] = loss_of(to_mambapy(model), tokens).item()
    return losses


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", choices=["time", "same"])
    arguments.add_argument("who", help="a peer, or natrix's program")
    arguments.add_argument("work")
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.set_num_interop_threads(1)
    if options.what == "same":
        print(json.dumps(same(options.who, options.work)))
    else:
        seconds, items = measure(options.who, options.work)
        print(json.dumps({"seconds": seconds, "items": items}))


if __name__ == "__main__":
    main()
