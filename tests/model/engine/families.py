"""Chat templates in the manner of four families, and tiny random models under tokenizers made on the spot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

QWEN25 = """
{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
LLAMA = """
{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content | trim %}{% set messages = messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}
{{- bos_token + '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' }}
{{- system + '<|eot_id|>' }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
GEMMA = """
{{- bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim }}
{{- '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
EXAONE = """
{%- for m in messages %}{{ '[|' + m.role + '|]\\n' + m.content + '[|endofturn|]\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '[|assistant|]\\n' }}
{%- if enable_thinking is defined and enable_thinking %}{{ '<think>\\n' }}
{%- else %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""


@dataclass(frozen=True)
class Family:
    """A family as its repositories write it: control tokens, their roles, the template."""

    template: str
    special: tuple[str, ...]
    turn_end: str
    eos: str
    architecture: str
    pad: str | None = None
    bos: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A tokenizer of single bytes and the family's control tokens."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in self.special])
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=made, eos_token=self.eos, bos_token=self.bos, pad_token=self.pad
        )
        tokenizer.chat_template = self.template
        return tokenizer

    def save(self, folder: Path) -> Path:
        """A random two-layer model of the family with its tokenizer."""
        import torch
        import transformers

        tokenizer = self.tokenizer()
        shape: dict[str, Any] = {
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024,
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.convert_tokens_to_ids(self.turn_end),
        }  # fmt: skip
        config = getattr(transformers, f"{self.architecture}Config")
        torch.manual_seed(3)
        name = self.architecture.removesuffix("Text")
        model = getattr(transformers, f"{name}ForCausalLM")(config(**shape, **dict(self.options)))
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(3)  # far from uniform, so that rounding decides no token
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder


FAMILIES = {
    "qwen2.5": Family(
        QWEN25, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>", "Qwen2", "<|endoftext|>"
    ),
    "llama": Family(
        LLAMA,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>", "<|eot_id|>", "Llama", bos="<|begin_of_text|>",
    ),
    "gemma": Family(
        GEMMA, ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", "<eos>", "Gemma3Text",
        "<pad>", "<bos>", (("sliding_window", 16), ("layer_types", ["sliding_attention", "full_attention"])),
    ),
    "exaone": Family(
        EXAONE, ("[PAD]", "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"), "[|endofturn|]", "[|endofturn|]",
        "Exaone4", "[PAD]", None, (("sliding_window", None), ("layer_types", ["full_attention", "full_attention"])),
    ),
}  # fmt: skip
