#!/usr/bin/env python3
"""Writes small tokenizers with texts and their ids, as Hugging Face's `tokenizers` gives them.

    make_tokenizers.py OUT [TEXTS]        pip install tokenizers

OUT/NAME.json is a tokenizer.json, and OUT/NAME_cases.json a list of {"text", "ids", "decoded"}. The tokenizers are trained here
on words of many scripts; between them they have the pre-tokenizers, normalizers and decoders of the models in docs/tokenizers.md.
"""

import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = (
    "the of and in light upon deep Darkness GOD Beginning don't we'll I'M they've you'd it's 1 22 333 4444 12345 3.14 x = f(y) + "
    "return std::vector<int> ==> __init__ # // /* ñandú café naïve Straße Ελληνικά привет мир 你好世界 こんにちは 안녕하세요 مرحبا שלום "
    "हिन्दी ไทย 🎉 👩‍👩‍👧 ﬁne Å e\u0301 ½ ² Ⅷ ٣ \u200b \u00a0 \u2028 ſ 'ſ 'S 'RE ... --- !?"
).split(" ")
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "    ", "\u00a0", "\u3000", "\u0085", ""]


def any_text(draw: random.Random) -> str:
    if draw.random() < 0.3:
        planes = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x400, 0x600), (0x900, 0xA00), (0x2000, 0x2100)]
        planes += [(0x3040, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0x1F300, 0x1F400), (0x10000, 0x10100)]
        pick = lambda: chr(draw.randrange(*draw.choice(planes)))  # noqa: E731
        return "".join(pick() if draw.random() < 0.8 else draw.choice(SPACES) for _ in range(draw.randrange(40)))
    return "".join(draw.choice(WORDS) + draw.choice(SPACES) for _ in range(draw.randrange(30)))


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**({"add_prefix_space": False} | options))


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def bytes_of(pre, normalizer=None):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    return t, {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}


def characters_of(pre, normalizer, decoder):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.decoder = decoder
    if pre:
        t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    return t, {"special_tokens": ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))], "limit_alphabet": 60}


def families():
    sequence = pre_tokenizers.Sequence
    yield "gpt2", *bytes_of(byte_level())
    yield "gpt2_prefix_space", *bytes_of(byte_level(add_prefix_space=True))
    yield "gpt_neox", *bytes_of(byte_level(), normalizers.NFC())
    yield "qwen2", *bytes_of(sequence([split(LLAMA3.replace("{1,3}", "")), byte_level(use_regex=False)]), normalizers.NFC())
    yield "llama3", *bytes_of(sequence([split(LLAMA3), byte_level(use_regex=False)]))
    yield "tekken", *bytes_of(sequence([split(TEKKEN), byte_level(use_regex=False)]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    yield "starcoder", *bytes_of(sequence([digits, byte_level()]))
    threes = pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")
    falcon = [pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(), threes]
    yield "falcon", *bytes_of(sequence(falcon))
    yield "nfkc", *bytes_of(byte_level(), normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()]))
    llama2 = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    yield "llama2", *characters_of(None, prepend, llama2)
    meta = pre_tokenizers.Metaspace("▁", "first", split=False)
    back = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first")])
    yield "metaspace", *characters_of(meta, None, back)


def main(out: pathlib.Path, texts: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    draw = random.Random(5)
    corpus = [any_text(draw) for _ in range(1500)]
    for name, tokenizer, options in families():
        trainer = trainers.BpeTrainer(vocab_size=420, show_progress=False, **options)
        tokenizer.train_from_iterator(corpus, trainer)
        tokenizer.add_special_tokens(["<|endoftext|>", AddedToken("<|im_end|>", lstrip=True, rstrip=True)])
        tokenizer.add_tokens([AddedToken("deep", single_word=True, normalized=False), AddedToken("~~~~", normalized=True)])
        first = tokenizer.token_to_id("<|endoftext|>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", first)]
        )
        tokenizer.save(str(out / f"{name}.json"), pretty=False)
        cases = []
        for i in range(texts):
            text = any_text(draw)
            if i % 5 == 0:
                words = text.split(" ")
                words.insert(draw.randrange(len(words) + 1), draw.choice(["<|endoftext|>", "<|im_end|>", "deep", "deeply", "~~~~"]))
                text = " ".join(words)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
        (out / f"{name}_cases.json").write_text(json.dumps(cases))


main(pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
