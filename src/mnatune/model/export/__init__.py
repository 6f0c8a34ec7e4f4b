"""The tuned model for other servers: merged safetensors, GGUF, Ollama, vLLM, the hub; each checked against training.

`Subject` says what is exported. Unlike the stages of the journey, an export writes outside the run folder.
"""

from .comparison import Checked, check_merged, check_rendering, dialogues, require_rendering, template_ids
from .gguf import to_gguf
from .hub import push
from .merged import merge, policy_template
from .ollama import ollama_template, require_qwen3, write_modelfile
from .subject import Subject
from .vllm import write_vllm

__all__ = [
    "Checked",
    "Subject",
    "check_merged",
    "check_rendering",
    "dialogues",
    "merge",
    "ollama_template",
    "policy_template",
    "push",
    "require_qwen3",
    "require_rendering",
    "template_ids",
    "to_gguf",
    "write_modelfile",
    "write_vllm",
]
