#!/usr/bin/env python3
"""Makes models of random shape with Hugging Face transformers and compares logits, loss and gradients with natrix's.

    random_models.py NATRIX [--count N] [--seed S]

MambaForCausalLM and attention-free JambaForCausalLM: sizes that divide nothing, biases or none, tied or not, one
expert or many, F32, BF16 or F16 on disk, one file or shards. A failure names the seed that makes its model again.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import torch
from transformers import JambaConfig, JambaForCausalLM, MambaConfig, MambaForCausalLM
from transformers.utils import logging

from transformers_roundtrip import Checks, check_numbers


def random_mamba(pick):
    return MambaForCausalLM(MambaConfig(
        vocab_size=pick.randint(3, 300), hidden_size=pick.randint(1, 70), num_hidden_layers=pick.randint(1, 4),
        state_size=pick.randint(1, 21), conv_kernel=pick.randint(2, 5), expand=pick.randint(1, 3),
        time_step_rank=pick.choice(["auto", 1, pick.randint(2, 9)]), use_bias=pick.random() < 0.5,
        use_conv_bias=pick.random() < 0.5, tie_word_embeddings=pick.random() < 0.5,
        layer_norm_epsilon=pick.choice([1e-5, 1e-6, 1e-3])))


def random_jamba(pick):
    layers, experts = pick.randint(1, 4), pick.choice([1, 2, 5, 16])
    period = pick.randint(1, 3)
    return JambaForCausalLM(JambaConfig(
        vocab_size=pick.randint(3, 300), hidden_size=2 * pick.randint(1, 35), num_hidden_layers=layers,
        intermediate_size=pick.randint(1, 90), num_attention_heads=2, num_key_value_heads=1,
        attn_layer_period=layers + 1, attn_layer_offset=layers,
        expert_layer_period=period, expert_layer_offset=pick.randrange(period), num_experts=experts,
        num_experts_per_tok=pick.randint(1, min(3, experts)), mamba_d_state=pick.randint(1, 21),
        mamba_d_conv=pick.randint(2, 5), mamba_expand=pick.randint(1, 3),
        mamba_dt_rank=pick.choice(["auto", 1, pick.randint(2, 9)]), mamba_proj_bias=pick.random() < 0.5,
        mamba_conv_bias=pick.random() < 0.5, tie_word_embeddings=pick.random() < 0.5,
        rms_norm_eps=pick.choice([1e-5, 1e-6, 1e-3]), output_router_logits=False, pad_token_id=None))


def check(checks, natrix, seed):
    pick = random.Random(seed)
    torch.manual_seed(seed)
    model = pick.choice([random_mamba, random_jamba])(pick)
    with torch.no_grad():  # what is initialised to zero or one would hide what is added or multiplied
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    dtype = pick.choice([torch.float32, torch.bfloat16, torch.float16])
    print(f"seed {seed}: {type(model).__name__}, {dtype}, {model.config.hidden_size} wide")
    tokens = torch.randint(0, model.config.vocab_size, (pick.randint(1, 3), pick.randint(2, 130)))
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        model.to(dtype).save_pretrained(saved, max_shard_size=pick.choice(["5GB", "20KB"]))
        model = type(model).from_pretrained(saved, dtype=torch.float32, experts_implementation="eager")
        check_numbers(checks, natrix, saved, model, tokens, Path(scratch))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("natrix", help="the program")
    arguments.add_argument("--count", type=int, default=20, help="models")
    arguments.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the first model")
    options = arguments.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    checks = Checks()
    for seed in range(options.seed, options.seed + options.count):
        check(checks, options.natrix, seed)
    sys.exit(checks.failed != 0)


if __name__ == "__main__":
    main()
