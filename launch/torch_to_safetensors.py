#!/usr/bin/env python3
"""Converts a checkpoint of state-spaces/mamba (pytorch_model.bin and config.json) to the Hugging Face format that
natrix reads: Mamba and Mamba-2 language models, such as state-spaces/mamba-130m and state-spaces/mamba2-130m.

    launch/torch_to_safetensors.py DIR OUT      # OUT/config.json and OUT/model.safetensors

It needs PyTorch, and nothing else that Python does not bring. A pytorch_model.bin is a pickle, which can run code
when it is read; it is opened with weights_only=True, so that PyTorch refuses everything but tensors. Weights keep
their values and dtypes. The tokenizer is not part of such a checkpoint: natrix takes the one of
EleutherAI/gpt-neox-20b for the published models.

Refused, each by name: attention layers (mamba2attn), MLPs (d_intermediate), LayerNorm in place of RMSNorm, and
options of a mixer that change its formula.
"""
import argparse
import ctypes
import json
import os
import re
import struct
import sys

INDEX = re.compile(r'backbone\.layers\.(\d+)\.')
DTYPES = {'float32': 'F32', 'float16': 'F16', 'bfloat16': 'BF16', 'float64': 'F64'}
# Options of a mixer that say nothing about the finished weights, or whose sizes the weights show.
HARMLESS = {'layer', 'd_state', 'd_conv', 'expand', 'headdim', 'ngroups', 'chunk_size', 'dt_rank', 'dt_min', 'dt_max', 'dt_init',
            'dt_scale', 'dt_init_floor', 'A_init_range', 'conv_init', 'use_fast_path', 'use_mem_eff_path', 'bias', 'conv_bias'}


def refuse(what):
    sys.exit(f'torch_to_safetensors.py: {what}')


def read_config(directory):
    path = os.path.join(directory, 'config.json')
    try:
        with open(path, encoding='utf-8') as f:
            config = json.load(f)
    except (OSError, ValueError) as e:
        refuse(f'{path}: {e}')
    if not isinstance(config, dict) or 'd_model' not in config or 'n_layer' not in config:
        found = f'; model_type {config["model_type"]!r} is of Hugging Face already' if 'model_type' in config else ''
        refuse(f'{path}: expected the config.json of state-spaces/mamba with d_model and n_layer{found}')
    for key, harmless in (('attn_layer_idx', []), ('d_intermediate', 0), ('rms_norm', True)):
        if config.get(key, harmless) != harmless:
            refuse(f'{path}: {key} is {config[key]!r}; expected {harmless!r}: natrix has no layer for this in Mamba')
    ssm = config.get('ssm_cfg') or {}
    if ssm.get('layer', 'Mamba1') not in ('Mamba1', 'Mamba2'):
        refuse(f'{path}: ssm_cfg.layer is {ssm["layer"]!r}; expected Mamba1 or Mamba2')
    if strange := sorted(set(ssm) - HARMLESS):
        refuse(f'{path}: ssm_cfg has {", ".join(strange)}; expected none but {", ".join(sorted(HARMLESS))}')
    return path, config, ssm


def read_tensors(path):
    try:
        import torch
    except ImportError:
        refuse('PyTorch is needed: pip install torch')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as e:  # pickle, zip and system errors alike
        refuse(f'{path}: {type(e).__name__}: {e}')
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        refuse(f'{path}: expected a dictionary of tensors')
    return {name.replace('backbone.embedding.', 'backbone.embeddings.'): t.detach().contiguous() for name, t in state.items()}


def translate(config, ssm, tensors, path):
    """config.json in the names of transformers; sizes are those of the tensors."""
    def shape(name):
        if name not in tensors:
            refuse(f'{path}: tensor {name} is missing')
        return list(tensors[name].shape)

    first = 'backbone.layers.0.mixer.'
    layers = 1 + max((int(m[1]) for m in map(INDEX.match, tensors) if m), default=-1)
    if layers != config['n_layer']:
        refuse(f'{path}: {layers} layers; config.json says n_layer {config["n_layer"]}')
    vocabulary, width = shape('backbone.embeddings.weight')
    inner = shape(first + 'out_proj.weight')[1]
    if inner % width:
        refuse(f'{path}: {inner} channels in a mixer; expected a multiple of d_model {width}')
    out = {'hidden_size': width, 'num_hidden_layers': layers, 'vocab_size': vocabulary, 'layer_norm_epsilon': 1e-5,
           'expand': inner // width, 'conv_kernel': shape(first + 'conv1d.weight')[2], 'hidden_act': 'silu',
           'use_bias': first + 'in_proj.bias' in tensors, 'use_conv_bias': first + 'conv1d.bias' in tensors,
           'residual_in_fp32': bool(config.get('residual_in_fp32', True)), 'use_cache': True,
           'tie_word_embeddings': bool(config.get('tie_embeddings', True)),
           'bos_token_id': 0, 'eos_token_id': 0, 'pad_token_id': 0,
           'dtype': str(tensors['backbone.embeddings.weight'].dtype).removeprefix('torch.')}
    if ssm.get('layer', 'Mamba1') == 'Mamba1':
        state, rank = shape(first + 'A_log')[1], shape(first + 'dt_proj.weight')[1]
        return out | {'architectures': ['MambaForCausalLM'], 'model_type': 'mamba', 'state_size': state, 'time_step_rank': rank,
                      'intermediate_size': inner}
    heads, groups = shape(first + 'A_log')[0], ssm.get('ngroups', 1)
    if inner % heads:
        refuse(f'{path}: {inner} channels in {heads} heads')
    if first + 'norm.weight' not in tensors:
        refuse(f'{path}: tensor {first}norm.weight is missing; Mamba2ForCausalLM has a norm in every mixer')
    if shape(first + 'D') != [heads]:
        refuse(f'{path}: D has shape {shape(first + "D")}; expected one number a head, [{heads}]')
    both = shape(first + 'conv1d.weight')[0] - inner  # B and C of all groups
    if both % (2 * groups):
        refuse(f'{path}: the convolution has {both} channels of B and C, which {groups} groups cannot share')
    return out | {'architectures': ['Mamba2ForCausalLM'], 'model_type': 'mamba2', 'num_heads': heads, 'head_dim': inner // heads,
                  'n_groups': groups, 'state_size': both // (2 * groups), 'chunk_size': ssm.get('chunk_size', 256),
                  'time_step_limit': [0.0, {'__float__': 'Infinity'}]}


def write_safetensors(path, tensors):
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    for name in sorted(tensors):
        t = tensors[name]
        kind = str(t.dtype).removeprefix('torch.')
        if kind not in DTYPES:
            refuse(f'tensor {name} has dtype {kind}; expected {", ".join(DTYPES)}')
        size = t.numel() * t.element_size()
        header[name] = {'dtype': DTYPES[kind], 'shape': list(t.shape), 'data_offsets': [at, at + size]}
        at += size
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path + '.part', 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for name in sorted(tensors):
            t = tensors[name]
            f.write((ctypes.c_char * (t.numel() * t.element_size())).from_address(t.data_ptr()))
        f.flush()
        os.fsync(f.fileno())
    os.replace(path + '.part', path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('directory', metavar='DIR', help='holds pytorch_model.bin and config.json')
    parser.add_argument('out', metavar='OUT', help='a new or empty directory')
    arguments = parser.parse_args()
    if os.path.exists(arguments.out) and (not os.path.isdir(arguments.out) or os.listdir(arguments.out)):
        refuse(f'{arguments.out} is there already and not an empty directory; name another')
    _, config, ssm = read_config(arguments.directory)
    source = os.path.join(arguments.directory, 'pytorch_model.bin')
    tensors = read_tensors(source)
    translated = translate(config, ssm, tensors, source)
    if translated['tie_word_embeddings']:
        tensors.pop('lm_head.weight', None)
    os.makedirs(arguments.out, exist_ok=True)
    write_safetensors(os.path.join(arguments.out, 'model.safetensors'), tensors)
    with open(os.path.join(arguments.out, 'config.json'), 'w', encoding='utf-8') as f:
        f.write(json.dumps(translated, indent=2, sort_keys=True) + '\n')
    print(f'{arguments.out}: {len(tensors)} tensors of a {translated["architectures"][0]}', file=sys.stderr)


if __name__ == '__main__':
    main()
