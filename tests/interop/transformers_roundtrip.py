#!/usr/bin/env python3
"""Opens what `natrix train` wrote with Hugging Face transformers and compares; downloads nothing.

    transformers_roundtrip.py NATRIX RUN

Of the run's latest checkpoint: the tokenizer's ids and text, logits, loss, gradients and a greedy continuation by
transformers against those of natrix. Then transformers saves the model (save_pretrained) and natrix reads that.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

# Of the largest value of a tensor, as in the oracles: two float implementations differ by their rounding.
LOGITS, GRADIENTS = 2e-5, 1e-4
TEXT = "In the beginning – naïve café, 東京, 🦂 – was the Word.\n\tAnd\r\n  so it   goes: {'x': 1}. "


class Checks:
    def __init__(self):
        self.failed = 0

    def say(self, what, good, figure):
        self.failed += not good
        print(f"  {'ok    ' if good else 'FAILED'}  {what:<46} {figure}")

    def equal(self, what, got, want):
        self.say(what, got == want, "equal" if got == want else f"{got!r:.60} and {want!r:.60}")

    def close(self, what, got, want, tolerance):
        error = float(np.abs(got - want).max() / np.abs(want).max())
        self.say(what, error <= tolerance, f"{error:.1e} of the largest (at most {tolerance:.0e})")


def natrix(program, *args):
    command = [program, *map(str, args), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with status {done.returncode}: {done.stderr}")
    return done.stdout


def gradients_by_checkpoint_name(model):
    """transformers 5 holds the experts of a layer in two tensors; the checkpoint names each expert's."""
    gradients = {}
    for name, parameter in model.named_parameters():
        g = parameter.grad.numpy()
        prefix, _, fused = name.rpartition(".")
        if fused == "gate_up_proj":
            for e, both in enumerate(g):
                gate, up = np.split(both, 2)
                gradients |= {f"{prefix}.{e}.gate_proj.weight": gate, f"{prefix}.{e}.up_proj.weight": up}
        elif fused == "down_proj":
            gradients |= {f"{prefix}.{e}.down_proj.weight": one for e, one in enumerate(g)}
        else:
            gradients[name] = g
    return gradients


def check_tokenizer(checks, tokenizer):
    ids = tokenizer(TEXT).input_ids
    checks.equal("tokenizer: ids are the bytes", ids, list(TEXT.encode()))
    checks.equal("tokenizer: decodes to the text", tokenizer.decode(ids, clean_up_tokenization_spaces=False), TEXT)
    every = "".join(map(chr, range(1, 0x800)))
    checks.equal("tokenizer: every two-byte character", tokenizer(every).input_ids, list(every.encode()))
    checks.equal("tokenizer: end of a document", tokenizer.eos_token_id, 256)


def check_numbers(checks, program, checkpoint, model, tokens, scratch):
    save_file({"tokens": tokens.numpy()}, scratch / "tokens.safetensors")
    files = ["--tokens", scratch / "tokens.safetensors", "--chunk", "50", "--out"]
    natrix(program, "score", checkpoint, *files, scratch / "scores.safetensors")
    natrix(program, "gradients", checkpoint, *files, scratch / "gradients.safetensors")
    scores, gradients = load_file(scratch / "scores.safetensors"), load_file(scratch / "gradients.safetensors")

    result = model(tokens, labels=tokens, use_cache=False)
    result.loss.backward()
    checks.close("logits", scores["logits"], result.logits.detach().numpy(), LOGITS)
    checks.close("loss", scores["loss"], result.loss.detach().numpy(), LOGITS)
    theirs = gradients_by_checkpoint_name(model)
    checks.equal("names of the gradients", sorted(gradients), sorted(theirs))
    worst = max(theirs, key=lambda n: np.abs(gradients[n] - theirs[n]).max() / max(np.abs(theirs[n]).max(), 1e-30))
    checks.close(f"gradients, worst of {len(theirs)}", gradients[worst], theirs[worst], GRADIENTS)


def check_generation(checks, program, checkpoint, model, tokenizer):
    prompt = "#include <"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        theirs = model.generate(ids, max_new_tokens=48, do_sample=False, pad_token_id=256)[0, ids.shape[1]:].tolist()
    if 256 in theirs:
        theirs = theirs[: theirs.index(256)]
    ours = natrix(program, "generate", checkpoint, "-p", prompt, "-n", 48, "--temp", 0, "--quiet")
    checks.equal("48 tokens of greedy text", ours.removesuffix("\n"), tokenizer.decode(theirs))


def check_saved_again(checks, program, checkpoint, model, scratch):
    model.save_pretrained(scratch / "again")
    for directory, out in ((checkpoint, "scores.safetensors"), (scratch / "again", "again.safetensors")):
        natrix(program, "score", directory, "--tokens", scratch / "tokens.safetensors", "--out", scratch / out)
    first, again = load_file(scratch / "scores.safetensors"), load_file(scratch / "again.safetensors")
    checks.equal("natrix on what transformers saved: same bits", (first["logits"] == again["logits"]).all(), True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("natrix", help="the program")
    arguments.add_argument("run", type=Path, help="a run directory")
    options = arguments.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)

    latest = (options.run / "checkpoints" / "latest").read_text().strip()
    checkpoint = options.run / "checkpoints" / latest
    model, loading = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    print(f"{checkpoint}: {type(model).__name__}, {model.num_parameters()} parameters")

    checks = Checks()
    for complaint in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        checks.equal(f"weights: {complaint.replace('_', ' ')}", list(loading[complaint]), [])
    check_tokenizer(checks, tokenizer)
    tokens = torch.randint(0, 257, (2, 300))
    with tempfile.TemporaryDirectory() as scratch:
        check_numbers(checks, options.natrix, checkpoint, model, tokens, Path(scratch))
        check_generation(checks, options.natrix, checkpoint, model, tokenizer)
        check_saved_again(checks, options.natrix, checkpoint, model, Path(scratch))
    sys.exit(checks.failed != 0)


if __name__ == "__main__":
    main()
