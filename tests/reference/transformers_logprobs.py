#!/usr/bin/env python3
"""Log-probabilities of the tokens of options and completions, from Hugging Face transformers' Llama in float64.

    pip install "transformers==4.46.3" jax==0.4.35 jaxlib==0.4.35 flax==0.10.2 "numpy<2.2" gguf
    python3 tests/reference/transformers_logprobs.py > tests/golden/stories260k/transformers.json

The examples are those of losses.json; the weights are the dequantized ones of the GGUF files. Each branch is a sequence
of its own, prompt and all.
"""
import json
import os

os.environ["JAX_ENABLE_X64"] = "1"
import jax.numpy as jnp
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from jax.nn import log_softmax
from transformers import FlaxLlamaForCausalLM, LlamaConfig

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "../golden")
NAMES = {"attn_q": "self_attn/q_proj", "attn_k": "self_attn/k_proj", "attn_v": "self_attn/v_proj",
         "attn_output": "self_attn/o_proj", "ffn_gate": "mlp/gate_proj", "ffn_up": "mlp/up_proj", "ffn_down": "mlp/down_proj"}


def load(path):
    reader = GGUFReader(path)
    get = lambda key: reader.fields["llama." + key].contents()
    weights = {t.name: dequantize(t.data, t.tensor_type).astype(np.float64).reshape([int(n) for n in reversed(t.shape)])
               for t in reader.tensors}
    vocabulary, dim = weights["token_embd.weight"].shape
    heads = {"attn_q": get("attention.head_count"), "attn_k": get("attention.head_count_kv")}
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=dim, intermediate_size=get("feed_forward_length"),
                         num_hidden_layers=get("block_count"), num_attention_heads=heads["attn_q"],
                         num_key_value_heads=heads["attn_k"], rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
                         rope_theta=get("rope.freq_base"), max_position_embeddings=get("context_length"))
    model = {"embed_tokens": {"embedding": weights["token_embd.weight"]}, "norm": {"weight": weights["output_norm.weight"]},
             "layers": {}}
    for i in range(config.num_hidden_layers):
        layer = {"input_layernorm": {"weight": weights[f"blk.{i}.attn_norm.weight"]},
                 "post_attention_layernorm": {"weight": weights[f"blk.{i}.ffn_norm.weight"]}, "self_attn": {}, "mlp": {}}
        for part, name in NAMES.items():
            w = weights[f"blk.{i}.{part}.weight"]
            if part in heads:  # converters make neighbours of the two elements that a rotation pairs; here they are halves
                w = w.reshape(heads[part], -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            block, key = name.split("/")
            layer[block][key] = {"kernel": w.T}
        model["layers"][str(i)] = layer
    head = weights.get("output.weight", weights["token_embd.weight"])
    params = {"model": model, "lm_head": {"kernel": head.T}}
    return FlaxLlamaForCausalLM(config, dtype=jnp.float64, _do_init=False), params


def main():
    with open(os.path.join(GOLDEN, "stories260k/losses.json")) as file:
        examples = json.load(file)["examples"]
    result = {}
    for storage in ["F32", "Q4_1"]:
        model, params = load(os.path.join(GOLDEN, f"models/stories260k/stories260K-{storage}.gguf"))
        result[storage] = []
        for example in examples:
            branches = []
            for branch in example["branches"]:
                ids = example["prompt"] + branch
                logits = model(np.array([ids[:-1]]), params=params).logits[0].astype(jnp.float64)
                log_probs = log_softmax(logits)
                first = len(example["prompt"]) - 1
                branches.append([float(log_probs[first + i, token]) for i, token in enumerate(branch)])
            result[storage].append(branches)
    print(json.dumps(result))


main()
