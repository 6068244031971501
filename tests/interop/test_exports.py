"""What qzoctl exports, read by programs that know nothing of it: AWQ by mlx-lm (as quantized as it is), GPTQ by the layout that its
writers publish, then computed by mlx-lm, GGUF by llama.cpp (xllamacpp). Each must behave as the base model with its multipliers, and not as the
base model. scripts/interop-test.sh sets it up; QZO_BIN_DIR has qzoctl."""
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file

import checkpoints

QZOCTL = os.path.join(os.environ["QZO_BIN_DIR"], "qzoctl")
STORIES = pathlib.Path(os.environ["QZO_SOURCE_DIR"]) / "tests/golden/models/stories260k"
ARCHITECTURES = pathlib.Path(os.environ["QZO_SOURCE_DIR"]) / "tests/golden/architectures"
TEXT = "Once upon a time"
TOKENS = 6
SEED = 28  # of multipliers after which each of these is far likelier than the next best: llama.cpp rounds activations otherwise
TASK = {"kind": "CLASSIFICATION", "prompt": "{text}", "options": ["a", "b"], "sequenceLen": 64}


def qzoctl(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run([QZOCTL, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def our_scores(*arguments: str) -> np.ndarray:
    line = json.loads(qzoctl("classify", "--text", f"text={TEXT}", "-o", "json", "--arithmetic", "fp32", *arguments))
    return np.array([option["logProbability"] for option in line["options"]])


def scores(logits: np.ndarray) -> np.ndarray:
    """Of the options "a" and "b" after the text: letters are tokens by their bytes, as letters() of the tokenizer has them."""
    last = logits.astype(np.float64)
    log_probabilities = last - last.max() - np.log(np.exp(last - last.max()).sum())
    return log_probabilities[[ord("a"), ord("b")]]


def prompt_ids() -> list[int]:
    return list(TEXT.encode())


def mlx_scores(weights: dict[str, np.ndarray]) -> np.ndarray:
    """By mlx-lm's Llama over dense weights."""
    import mlx.core as mx
    from mlx_lm.models import llama

    model = llama.Model(llama.ModelArgs.from_dict(checkpoints.CONFIG))
    model.load_weights([(name, mx.array(value)) for name, value in weights.items()])
    return scores(np.array(model(mx.array([prompt_ids()]))[0, -1]))


def folded(weights: dict[str, np.ndarray], multipliers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    result = dict(weights)
    for name, k in multipliers.items():
        rows, columns = weights[name].shape
        result[name] = weights[name] * np.repeat(k, columns // k.shape[1], axis=1)
    return result


@pytest.fixture(params=["channel", "group"])
def by_group(request) -> bool:
    return request.param == "group"


def trained(tmp_path: pathlib.Path, method: str, by_group: bool) -> tuple[pathlib.Path, pathlib.Path, dict]:
    base, adapter = tmp_path / "base", tmp_path / "adapter.safetensors"
    checkpoints.write_checkpoint(str(base), method)
    partition = [(name + ".weight", rows, columns, checkpoints.GROUP) for name, rows, columns in checkpoints.layers()]
    multipliers = checkpoints.write_adapter(str(adapter), checkpoints.directory_digest(str(base)), partition, by_group, TASK)
    return base, adapter, multipliers


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_checkpoints_hold_the_adapter(tmp_path: pathlib.Path, method: str, by_group: bool) -> None:
    base, adapter, multipliers = trained(tmp_path, method, by_group)
    plain = checkpoints.dense(str(base))
    expected = mlx_scores(folded(plain, multipliers))
    untrained = mlx_scores(plain)
    assert np.abs(expected - untrained).max() > 0.1, "the adapter must matter, or nothing is shown"
    np.testing.assert_allclose(our_scores("--model", base, "--adapter", adapter), expected, atol=2e-3)

    out = tmp_path / "out"
    print(qzoctl("export", adapter, out, "--model", base))
    np.testing.assert_allclose(mlx_scores(checkpoints.dense(str(out))), expected, atol=2e-2)
    # Codes and zeros are the same, bit for bit.
    before, after = (load_file(str(directory / "model.safetensors")) for directory in (base, out))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert name.endswith(".scales") != np.array_equal(tensor, after[name]), name

    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(out))
    assert config.quantization_config["quant_method"] == method and config.hidden_size == 64


def test_mlx_lm_runs_an_exported_awq_checkpoint(tmp_path: pathlib.Path, by_group: bool) -> None:
    import mlx.core as mx
    from mlx_lm.utils import load_model

    base, adapter, multipliers = trained(tmp_path, "awq", by_group)
    expected = mlx_scores(folded(checkpoints.dense(str(base)), multipliers))
    qzoctl("export", adapter, tmp_path / "out", "--model", base)
    model, _ = load_model(tmp_path / "out")
    found = scores(np.array(model(mx.array([prompt_ids()]))[0, -1].astype(mx.float32)))
    np.testing.assert_allclose(found, expected, atol=0.05)  # it computes in half precision


def test_multipliers_are_plain_safetensors(tmp_path: pathlib.Path, by_group: bool) -> None:
    base, adapter, multipliers = trained(tmp_path, "gptq", by_group)
    qzoctl("export", adapter, tmp_path / "k.safetensors", "--model", base, "--multipliers")
    found = load_file(str(tmp_path / "k.safetensors"))
    assert found.keys() == multipliers.keys()
    for name, k in multipliers.items():
        np.testing.assert_array_equal(found[name].reshape(k.shape), k)


def gguf_adapter(path: pathlib.Path, model: pathlib.Path) -> None:
    from gguf import GGUFReader

    sizes = {"attn_q": 0, "attn_k": 1, "attn_v": 2, "attn_output": 3, "ffn_gate": 4, "ffn_up": 5, "ffn_down": 6}
    partition = []
    for tensor in GGUFReader(str(model)).tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk" and parts[2] in sizes:
            columns, rows = map(int, tensor.shape)
            group = 32 if tensor.tensor_type.name == "Q4_1" else columns
            partition.append(((int(parts[1]), sizes[parts[2]]), (tensor.name, rows, columns, group)))
    ordered = [entry for _, entry in sorted(partition)]
    checkpoints.write_adapter(str(path), checkpoints.sha256(str(model)), ordered, False, TASK, SEED)


def test_llama_cpp_runs_an_exported_gguf(tmp_path: pathlib.Path) -> None:
    import xllamacpp

    base, adapter, out = STORIES / "stories260K-Q4_1.gguf", tmp_path / "a.safetensors", tmp_path / "out.gguf"
    gguf_adapter(adapter, base)
    qzoctl("export", adapter, out, "--model", base)

    def theirs(model: pathlib.Path) -> str:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(model)
        parameters.n_ctx, parameters.n_parallel, parameters.warmup = 128, 1, False
        answer = xllamacpp.Server(parameters).handle_completions({"prompt": TEXT, "max_tokens": TOKENS, "temperature": 0})
        return answer["choices"][0]["text"]

    def ours(*arguments: object) -> str:
        return qzoctl("generate", "--prompt", TEXT, "--max-tokens", TOKENS, *arguments).removesuffix("\n")

    assert theirs(base) == ours("--model", base)
    assert theirs(out) == ours("--model", base, "--adapter", adapter) == ours("--model", out)
    assert theirs(out) != theirs(base), "the adapter must matter, or nothing is shown"


# Tokens of the tiny models that transformers has written (tests/golden/architectures), and what of config.json is changed without a change
# of these tokens' logits. llama.cpp computes Mistral and Phi 3 without windows: so many tokens fit into theirs. It chooses Phi 3's divisors by
# the context that it has room for, at least 256. Gemma 2's scale of scores it takes from the model's published sizes.
LONGROPE = {"max_position_embeddings": 512, "original_max_position_embeddings": 256}
CONVERTED = {"llama": (14, {}), "mistral": (5, {}), "qwen2": (14, {}), "qwen3": (14, {}), "gemma3": (14, {}), "phi3": (9, LONGROPE), "gpt2": (14, {})}


@pytest.mark.parametrize("name", CONVERTED)
def test_llama_cpp_computes_what_transformers_does_of_a_converted_checkpoint(tmp_path: pathlib.Path, name: str) -> None:
    golden, base, out = ARCHITECTURES / name, tmp_path / "base", tmp_path / "out.gguf"
    count, changes = CONVERTED[name]
    base.mkdir()
    shutil.copy(golden / "model.safetensors", base)
    config = json.loads((golden / "config.json").read_text())
    if name == "phi3":  # that of the original context
        config["rope_scaling"]["attention_factor"] = float(np.sqrt(1 + np.log(64 / 32) / np.log(32)))
    (base / "config.json").write_text(json.dumps({**config, **changes}))
    checkpoints.write_tokenizer(str(base), [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"])
    qzoctl("models", "convert", base, out, "--type", "f16")
    logits = np.fromfile(golden / "logits.bin", "<f4").reshape(-1, 96).astype(np.float64)
    ids = [(7 * i * i + 3 * i + 1) % 96 for i in range(count)]
    expected = logits[count - 1] - np.log(np.exp(logits[count - 1]).sum())
    np.testing.assert_allclose(llama_cpp_log_probabilities(out, ids), expected, atol=0.02)  # it rounds activations to halves


def llama_cpp_log_probabilities(model: pathlib.Path, ids: list[int]) -> np.ndarray:
    """Of every token after `ids`."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 64, 1, False
    server = xllamacpp.Server(parameters)
    answer = server.handle_completions({"prompt": ids, "max_tokens": 1, "n_probs": 96, "temperature": 0})
    found = np.full(96, np.nan)
    for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        found[token["id"]] = token["logprob"]
    return found
