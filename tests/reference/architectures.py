#!/usr/bin/env python3
"""Tiny random models of every architecture as Hugging Face `transformers` writes them, the same as GGUF files, and the logits
that `transformers` computes, into tests/golden/architectures.

    pip install torch transformers==4.51.3 gguf safetensors
    python3 tests/reference/architectures.py

Weights of linear layers are multiples -8 ... 7 of scales of few bits, one for 32 values: F16 in safetensors and Q4_0 in GGUF
hold them exactly, so that one set of logits is right for both. Names in GGUF are those of `gguf`'s own tables, but for OPT,
which it does not know. Settings that only shift a little are chosen so that they matter: windows shorter than the text, caps
within reach of the scores, norm weights and biases at random.
"""
import os

import gguf
import numpy as np
import torch
import transformers as hf

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/architectures")
VOCABULARY, TOKENS = 96, 14
IDS = [(7 * i * i + 3 * i + 1) % VOCABULARY for i in range(TOKENS)]
COMMON = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)

MODELS = {
    "llama": hf.LlamaConfig(**COMMON, rope_theta=1000.0, rope_scaling=LLAMA3),
    "mistral": hf.MistralConfig(**COMMON, sliding_window=5, head_dim=8),
    "qwen2": hf.Qwen2Config(**COMMON, rope_theta=1000.0, tie_word_embeddings=True),
    "qwen3": hf.Qwen3Config(**COMMON, head_dim=16, rope_theta=1000.0),
    "gemma2": hf.Gemma2Config(**COMMON, head_dim=16, query_pre_attn_scalar=12, sliding_window=5, attn_logit_softcapping=1.5,
                              final_logit_softcapping=4.0),
    "gemma3": hf.Gemma3TextConfig(**COMMON, head_dim=16, query_pre_attn_scalar=16, sliding_window=5, sliding_window_pattern=2,
                                  rope_theta=1000.0, rope_local_base_freq=100.0,
                                  rope_scaling=dict(rope_type="linear", factor=2.0)),
    "phi3": hf.Phi3Config(**COMMON, original_max_position_embeddings=32, sliding_window=9, rope_theta=1000.0,
                          rope_scaling=dict(type="longrope", short_factor=[1.0, 1.25, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0, 5.0])),
    "opt": hf.OPTConfig(vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
                        max_position_embeddings=64, word_embed_proj_dim=32, pad_token_id=1, bos_token_id=2, eos_token_id=2,
                        dropout=0.0),
    "gpt2": hf.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
                          attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
}
# The weights of "llama" under other settings.
ROPE = {
    "llama-linear": dict(rope_type="linear", factor=3.0),
    "llama-yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, beta_slow=0.5),
}
GGUF_ARCH = {"mistral": gguf.MODEL_ARCH.LLAMA, "llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2,
             "qwen3": gguf.MODEL_ARCH.QWEN3, "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3": gguf.MODEL_ARCH.GEMMA3,
             "phi3": gguf.MODEL_ARCH.PHI3, "gpt2": gguf.MODEL_ARCH.GPT2}
OPT_NAMES = {"decoder.embed_tokens": "token_embd", "decoder.embed_positions": "position_embd",
             "decoder.final_layer_norm": "output_norm", "self_attn_layer_norm": "attn_norm", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_output",
             "final_layer_norm": "ffn_norm", "fc1": "ffn_up", "fc2": "ffn_down"}


def randomize(model, random):
    """Linear layers and embeddings exact in Q4_0 along their inputs; all else fp32."""
    for name, tensor in model.named_parameters():
        shape = tuple(tensor.shape)
        if len(shape) == 1:
            around = 1.0 if name.endswith("weight") and type(model).__name__[:5] != "Gemma" else 0.0
            value = around + random.uniform(-0.5, 0.5, shape)
        else:
            conv = type(model).__name__.startswith("GPT2") and ".h." in name  # [inputs, outputs]
            rows, cols = shape[::-1] if conv else shape
            codes = random.integers(-8, 8, (rows, cols // 32, 32))
            scales = (32 + random.integers(0, 32, (rows, cols // 32, 1))) / 2.0**10
            value = (codes * scales).reshape(rows, cols)
            value = value.T if conv else value
        tensor.data = torch.tensor(np.ascontiguousarray(value), dtype=torch.float32)


def logits(model):
    with torch.no_grad():
        result = model.double()(torch.tensor([IDS])).logits[0].numpy().astype("<f4")
    model.float()
    return result


def q4_0(value):
    """[rows, cols] of the above as blocks: half-precision scale, then codes + 8, the first 16 in the low nibbles."""
    blocks = value.reshape(-1, 32)
    step = np.array([np.gcd.reduce(np.rint(b * 2**10).astype(int)) for b in blocks])
    codes, scales = None, None
    # The scale is 32 ... 63 units; a block's common divisor is that or a multiple of it.
    for i, b in enumerate(blocks):
        units = np.rint(b * 2**10).astype(int)
        scale = next(s for s in range(32, 64) if step[i] % s == 0 and np.all((units // s >= -8) & (units // s <= 7)))
        row = units // scale + 8
        packed = (row[:16] | row[16:] << 4).astype(np.uint8)
        data = np.concatenate([np.frombuffer(np.float16(scale / 2**10).tobytes(), np.uint8), packed])
        codes = data if codes is None else np.concatenate([codes, data])
    return codes.reshape(value.shape[0], -1)


def gguf_name(kind, name, layers):
    stem, end = name.rsplit(".", 1)
    if kind != "opt":
        found = gguf.get_tensor_name_map(GGUF_ARCH[kind], layers).get_name(stem)
        return f"{found}.{end}"
    stem = stem.removeprefix("model.")
    if stem.startswith("decoder.layers."):
        _, _, layer, part = stem.split(".", 3)
        return f"blk.{layer}.{OPT_NAMES[part]}.{end}"
    return f"{OPT_NAMES[stem]}.{end}"


def write_keys(writer, kind, c):
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_head_count(c.num_attention_heads)
    if kind in ("opt", "gpt2"):
        writer.add_feed_forward_length(c.ffn_dim if kind == "opt" else 4 * c.n_embd)
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_feed_forward_length(c.intermediate_size)
        writer.add_head_count_kv(c.num_key_value_heads)
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        writer.add_rope_freq_base(c.rope_theta)
        head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        writer.add_key_length(head)
        writer.add_value_length(head)
    if kind in ("mistral", "gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(c.sliding_window)
    if kind.startswith("gemma"):
        writer.add_float32(f"{kind}.attention.scale", c.query_pre_attn_scalar**-0.5)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if kind == "gemma3":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(c.rope_scaling["factor"])
        writer.add_float32("gemma3.rope.freq_base_swa", c.rope_local_base_freq)
        writer.add_uint32("gemma3.attention.sliding_window_pattern", c.sliding_window_pattern)
    if kind == "phi3":
        writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
        writer.add_rope_scaling_orig_ctx_len(c.original_max_position_embeddings)
    # Three tokens: the models are fed numbers.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", "b", "ab"])
    writer.add_token_types([1, 1, 1])
    writer.add_token_merges(["a b"])


def write_gguf(kind, model, path):
    c = model.config
    writer = gguf.GGUFWriter(path, "opt" if kind == "opt" else gguf.MODEL_ARCH_NAMES[GGUF_ARCH[kind]])
    write_keys(writer, kind, c)
    if kind == "llama":  # as converters have it
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](c, "cpu")
        plain = c.rope_theta ** (-np.arange(0, 8, 2) / 8)
        writer.add_tensor("rope_freqs.weight", (plain / scaled.numpy()).astype(np.float32))
    if kind == "phi3":
        for which in ("long", "short"):
            writer.add_tensor(f"rope_factors_{which}.weight", np.array(c.rope_scaling[which + "_factor"], np.float32))
    for name, tensor in model.named_parameters():
        value = tensor.detach().numpy()
        if kind == "gpt2" and ".h." in name and value.ndim == 2:
            value = value.T
        if kind in ("llama", "mistral") and ("q_proj" in name or "k_proj" in name):
            heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        if kind.startswith("gemma") and "norm" in name:
            value = value + 1
        to = gguf_name(kind, name, c.num_hidden_layers)
        if value.ndim == 2:
            writer.add_tensor(to, q4_0(value), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        else:
            writer.add_tensor(to, value.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def halve(model):
    """The state as save_pretrained takes it: matrices in F16, which holds them, vectors in F32."""
    return {n: (t.half() if t.dim() == 2 else t).contiguous() for n, t in model.state_dict().items()}


def save(kind, model):
    folder = os.path.join(OUT, kind)
    os.makedirs(folder, exist_ok=True)
    logits(model).tofile(os.path.join(folder, "logits.bin"))
    state = halve(model)
    model.config.torch_dtype = "float16"
    model.save_pretrained(folder, state_dict=state)
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    write_gguf(kind, model, os.path.join(folder, "model.gguf"))


def main():
    for kind, config in MODELS.items():
        torch.manual_seed(0)
        config._attn_implementation = "eager"
        model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        randomize(model, np.random.default_rng(len(kind)))
        model.tie_weights()
        save(kind, model)
        if kind != "llama":
            continue
        for variant, scaling in ROPE.items():
            other = hf.LlamaConfig(**COMMON, rope_theta=1000.0, rope_scaling=scaling)
            scaled = hf.LlamaForCausalLM._from_config(other, attn_implementation="eager").eval()
            scaled.load_state_dict(model.state_dict())
            os.makedirs(os.path.join(OUT, variant), exist_ok=True)
            logits(scaled).tofile(os.path.join(OUT, variant, "logits.bin"))
            other.architectures = ["LlamaForCausalLM"]
            with open(os.path.join(OUT, variant, "config.json"), "w") as file:
                file.write(other.to_json_string())


if __name__ == "__main__":
    main()
