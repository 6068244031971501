#!/usr/bin/env python3
"""Writes tests/golden/chat_templates.json: what Jinja makes of conversations, with the templates of the families that
model/tasks/chat_style.h knows. Needs the PyPI packages jinja2 and gguf; run by hand when a family is added:

  tests/tokenizers/render_chat.py

The environment is set up as transformers does. SmolLM2's template is the model's own (Apache-2.0); the others were written
for this test after the formats that the models' makers document.
"""

import json
import pathlib

import gguf
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).parents[2]
TURNS_MUST_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
TAKE_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
)
CHATML_TURN = "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
CHATML_ANSWER = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
HEADER = "'<|start_header_id|>' + {} + '<|end_header_id|>\\n\\n'"
MODEL_ROLE = "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
# name: template, BOS, EOS, tokens of the vocabulary, what ends an answer
FAMILIES = {
    "chatml": (
        "{% for message in messages %}" + CHATML_TURN + "{% endfor %}" + CHATML_ANSWER,
        "", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "qwen2.5": (
        "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
        "{%- endif %}{% for message in messages %}" + CHATML_TURN + "{% endfor %}" + CHATML_ANSWER,
        "", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "qwen3": (
        "{%- for message in messages %}{%- if message.role == 'assistant' and loop.last %}"
        "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + message.content + '<|im_end|>\\n' }}"
        "{%- else %}" + CHATML_TURN + "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}"
        "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}"
        "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}",
        "", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
    "llama3": (
        "{% for message in messages %}{% set content = " + HEADER.format("message['role']")
        + " + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
        "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ " + HEADER.format("'assistant'")
        + " }}{% endif %}",
        "<s>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "llama3.1": (
        "{{- bos_token }}" + TAKE_SYSTEM + "{{- " + HEADER.format("'system'") + " }}"
        "{{- 'Cutting Knowledge Date: December 2023\\n' }}{{- 'Today Date: 26 Jul 2024\\n\\n' }}{{- system | trim }}"
        "{{- '<|eot_id|>' }}{%- for message in rest %}{{- " + HEADER.format("message['role']")
        + " + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- "
        + HEADER.format("'assistant'") + " }}{%- endif %}",
        "<s>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    "gemma2": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}" + TURNS_MUST_ALTERNATE + MODEL_ROLE
        + "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        "<s>", "</s>", ["<start_of_turn>", "<end_of_turn>"], "<end_of_turn>"),
    "gemma3": (
        "{{ bos_token }}" + TAKE_SYSTEM + "{% for message in rest %}" + TURNS_MUST_ALTERNATE + MODEL_ROLE
        + "{{ '<start_of_turn>' + role + '\\n' + (system + '\\n\\n' if loop.first and system else '') }}"
        "{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        "<s>", "</s>", ["<start_of_turn>", "<end_of_turn>"], "<end_of_turn>"),
    "phi3": (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + "
        "'<|end|>\\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}"
        "{% else %}{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<s>", "</s>", ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"], "<|end|>"),
    "zephyr": (
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + message['content'] + eos_token }}\n{% endif %}\n"
        "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
        "", "</s>", [], "</s>"),
    "llama2": (
        TAKE_SYSTEM + "{% for message in rest %}" + TURNS_MUST_ALTERNATE
        + "{% if loop.first and system %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}"
        "{% endif %}{% endfor %}",
        "<s>", "</s>", [], "</s>"),
    "mistral-v0.2": (
        "{{ bos_token }}{% for message in messages %}" + TURNS_MUST_ALTERNATE + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token}}{% endif %}{% endfor %}",
        "<s>", "</s>", [], "</s>"),
    "mistral-v0.1": (
        "{{ bos_token }}{% for message in messages %}" + TURNS_MUST_ALTERNATE + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token + ' ' }}{% endif %}"
        "{% endfor %}",
        "<s>", "</s>", [], "</s>"),
}  # fmt: skip
SYSTEM = {"role": "system", "content": "Be kind."}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
    [SYSTEM, {"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "It is 4."}],
    [SYSTEM, {"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "\nHello there "},
     {"role": "user", "content": "Grüße 😀\n\nBye"}, {"role": "assistant", "content": "Ciao"}],
    [{"role": "user", "content": "One"}],
    [SYSTEM, {"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}],
    [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"},
     {"role": "assistant", "content": "4"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}],
]  # fmt: skip


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def main() -> None:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    fields = gguf.GGUFReader(ROOT / "tests/golden/models/smollm2/tokenizer.gguf").fields
    smollm2 = fields["tokenizer.chat_template"].contents()
    families = FAMILIES | {"smollm2": (smollm2, "", "<|im_end|>", ["<|im_start|>", "<|im_end|>"], "<|im_end|>")}
    golden = []
    for name, (template, bos, eos, tokens, end) in families.items():
        compiled = environment.from_string(template)
        cases = []
        for messages in CONVERSATIONS:
            inference = messages[-1]["role"] == "user"
            try:
                text = compiled.render(
                    messages=messages, add_generation_prompt=inference, bos_token=bos, eos_token=eos, enable_thinking=False
                )
            except TemplateError:
                text = None  # to be refused
            if text is not None and not inference:
                text = text[: text.rindex(end, 0, len(text) - len(eos) if text.endswith(end + "\n" + eos) else None) + len(end)]
            cases.append({"messages": messages, "text": text})
        golden.append({"family": name, "template": template, "tokens": tokens, "end": end, "cases": cases})
    path = ROOT / "tests/golden/chat_templates.json"
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
