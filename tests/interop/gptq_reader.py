"""An exported GPTQ checkpoint as AutoGPTQ reads and computes it, with PyTorch on the processor. scripts/gptq-test.sh sets it up."""
import json
import pathlib

import numpy as np
import torch
from auto_gptq import AutoGPTQForCausalLM
from transformers import LlamaConfig, LlamaForCausalLM

import checkpoints
from test_exports import by_group, folded, prompt_ids, qzoctl, scores, trained  # noqa: F401, a fixture


def torch_scores(model: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return scores(model(torch.tensor([prompt_ids()])).logits[0, -1].float().numpy())


def dense_scores(weights: dict[str, np.ndarray]) -> np.ndarray:
    model = LlamaForCausalLM(LlamaConfig(**checkpoints.CONFIG)).float().eval()
    model.load_state_dict({name: torch.tensor(tensor) for name, tensor in weights.items()})
    return torch_scores(model)


def read(directory: pathlib.Path) -> AutoGPTQForCausalLM:
    settings = json.loads((directory / "config.json").read_text())["quantization_config"]
    (directory / "quantize_config.json").write_text(json.dumps(settings))  # where it looks first
    return AutoGPTQForCausalLM.from_quantized(str(directory), device="cpu", use_safetensors=True, disable_exllama=True,
                                              disable_exllamav2=True, torch_dtype=torch.float32, model_basename="model")


def test_auto_gptq_runs_an_exported_checkpoint(tmp_path: pathlib.Path, by_group: bool) -> None:  # noqa: F811
    base, adapter, multipliers = trained(tmp_path, "gptq", by_group)
    out = tmp_path / "out"
    qzoctl("export", adapter, out, "--model", base)
    plain = checkpoints.dense(str(base))
    expected = dense_scores(folded(plain, multipliers))
    assert np.abs(expected - dense_scores(plain)).max() > 0.1, "the adapter must matter, or nothing is shown"

    model = read(out)
    layers = dict(model.model.named_modules())
    exported = checkpoints.dense(str(out))
    for name, _, columns in checkpoints.layers():
        layer = layers[name]
        assert hasattr(layer, "qweight"), name
        np.testing.assert_allclose(layer(torch.eye(columns)).T.numpy(), exported[name + ".weight"], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(torch_scores(model.model), expected, atol=2e-2)
