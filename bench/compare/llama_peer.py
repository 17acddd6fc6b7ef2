#!/usr/bin/env python3
"""Measures llama.cpp once, or checks that it computes the same as natrix. Prints one JSON object.

    llama_peer.py make MODEL FOLDER CONVERT            MODEL: mamba-130m, jamba-300m; CONVERT: llama.cpp's
                                                       convert_hf_to_gguf.py. Does nothing where the files are there.
    llama_peer.py same MODEL FOLDER NATRIX             the largest difference between logits, relative to the largest
    llama_peer.py time MODEL FOLDER WORK --threads N [--type f32|q8_0]      WORK: prefill:LENGTH, decode
"""

import argparse
import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy
from torch_peers import best

PROMPT = 64  # tokens whose logits are compared


def write_byte_tokenizer(path):
    """A sentencepiece model of bytes: the converter asks for a tokenizer, and no measurement reads text."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    normal, unknown, control, byte = 1, 2, 3, 6
    pieces = [("<unk>", unknown), ("<s>", control), ("</s>", control), *((f"<0x{b:02X}>", byte) for b in range(256))]
    for piece, kind in pieces:
        model.pieces.add(piece=piece, score=0, type=kind)
    model.trainer_spec.model_type = 2  # BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(pieces)
    path.write_bytes(model.SerializeToString())


def with_idle_attention(jamba):
    """The same function with a ninth layer whose outputs are zero: llama.cpp opens no Jamba without attention."""
    import torch
    import torch_peers

    other = torch_peers.hf_jamba_300m(layers=9)
    weights = other.state_dict() | jamba.state_dict()
    for name in weights:
        if ".layers.8." in name and ("o_proj" in name or "down_proj" in name):
            weights[name] = torch.zeros_like(weights[name])
    other.load_state_dict(weights)
    return other


# The ninth layer's share of a token's multiply-adds in llama.cpp's Jamba (attention of 768², two experts of
# 3 · 768 · 1536). Its times are shortened by this share.
IDLE_SHARE = {"jamba-300m": 9.4 / (111.5 + 9.4)}


def make(model, folder, convert):
    import torch
    import torch_peers

    source, for_llama = folder / model, folder / f"{model}-for-llama"
    if not (for_llama / "tokenizer.model").exists():
        torch.manual_seed(1)
        ours = torch_peers.hf_mamba() if model == "mamba-130m" else torch_peers.hf_jamba_300m()
        ours.save_pretrained(source)
        (ours if model == "mamba-130m" else with_idle_attention(ours)).save_pretrained(for_llama)
        write_byte_tokenizer(for_llama / "tokenizer.model")
    for kind in ("f32", "q8_0"):
        target = folder / f"{model}-{kind}.gguf"
        if not target.exists():
            subprocess.run([sys.executable, convert, for_llama, "--outtype", kind, "--outfile", target], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Llama:
    def __init__(self, file, threads, context):
        import llama_cpp

        self.api = llama_cpp
        quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
        self.quiet = quiet  # the library keeps no reference
        llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
        of_model = llama_cpp.llama_model_default_params()
        # Its code for AMX (llama-cpp-python 0.3.36) ends with an illegal instruction: it zeroes a tile that was
        # never configured. Without these buffers it uses its AVX-512 code.
        of_model.use_extra_bufts = "amx_tile" not in Path("/proc/cpuinfo").read_text()
        self.model = llama_cpp.llama_model_load_from_file(str(file).encode(), of_model)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = context
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise RuntimeError(f"llama.cpp does not open {file}")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def feed(self, tokens):
        ids = (self.api.llama_token * len(tokens))(*tokens)
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(ids, len(tokens))) != 0:
            raise RuntimeError("llama_decode failed")

    def logits(self):
        return numpy.ctypeslib.as_array(self.api.llama_get_logits_ith(self.context, -1), (self.vocabulary,)).copy()

    def forget(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)


def prompt(length):
    return [3 + (7 * i + i * i) % 256 for i in range(length)]


def same(model, folder, natrix):
    from safetensors.numpy import load_file, save_file

    tokens = prompt(PROMPT)
    save_file({"tokens": numpy.array([tokens], dtype=numpy.int64)}, folder / "tokens.safetensors")
    subprocess.run([natrix, "score", folder / model, "--tokens", folder / "tokens.safetensors", "--out",
                    folder / "scores.safetensors", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    ours = load_file(folder / "scores.safetensors")["logits"][0, -1]
    llama = Llama(folder / f"{model}-f32.gguf", 2, PROMPT)
    llama.feed(tokens)
    theirs = llama.logits()[: len(ours)]
    return float(abs(ours - theirs).max() / abs(ours).max())


def measure(model, folder, work, kind, threads):
    """(seconds, items)"""
    length = int(work.split(":")[1]) if work != "decode" else 1
    llama = Llama(folder / f"{model}-{kind}.gguf", threads, max(length, 512))

    def prefill():
        llama.forget()
        llama.feed(prompt(length))
        llama.logits()

    def decode():
        llama.feed([5])
        llama.logits()

    if work != "decode":
        return best(prefill), length
    llama.feed(prompt(8))
    return best(decode, seconds=2), 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", choices=["make", "same", "time"])
    arguments.add_argument("model", choices=["mamba-130m", "jamba-300m"])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("argument", help="CONVERT, NATRIX or WORK")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--type", default="f32", choices=["f32", "q8_0"])
    options = arguments.parse_args()
    if options.what == "make":
        make(options.model, options.folder, options.argument)
        print("{}")
    elif options.what == "same":
        print(json.dumps({"difference": same(options.model, options.folder, options.argument)}))
    else:
        seconds, items = measure(options.model, options.folder, options.argument, options.type, options.threads)
        seconds *= 1 - IDLE_SHARE.get(options.model, 0)
        print(json.dumps({"seconds": seconds, "items": items}))


if __name__ == "__main__":
    main()
