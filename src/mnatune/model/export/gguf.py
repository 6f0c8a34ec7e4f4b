"""GGUF for llama.cpp and Ollama, through llama.cpp's own converter.

The converter is a script of the llama.cpp repository and not on PyPI, so it has to be there already:

    git clone --depth 1 https://github.com/ggml-org/llama.cpp
    pip install gguf sentencepiece       (its requirements file would replace torch and transformers)
    mnatune export gguf --run RUN --out OUT --llama-cpp llama.cpp

Does not: quantise below 8 bits. `llama-quantize` or `ollama create -q q4_K_M` do that from the file written here.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...runs.errors import DataError, EnvironmentFault
from ...runs.workspace import atomic_path
from .merged import merge, refuse_existing
from .subject import Subject

SCRIPT = "convert_hf_to_gguf.py"
TYPES = ("q8_0", "bf16", "f16", "f32")
HOW = (
    "git clone --depth 1 https://github.com/ggml-org/llama.cpp && pip install gguf sentencepiece, "
    "then give --llama-cpp llama.cpp"
)


def find_converter(llama_cpp: Path | None) -> Path:
    """The converter script: in the folder given, in $LLAMA_CPP, or on PATH.

    Raises:
        EnvironmentFault: it is nowhere, or a package that it imports is missing.
    """
    places = [llama_cpp, Path(os.environ["LLAMA_CPP"]) if os.environ.get("LLAMA_CPP") else None]
    found = [p / SCRIPT for p in places if p is not None and (p / SCRIPT).is_file()]
    on_path = shutil.which(SCRIPT)
    if not found and not on_path:
        raise EnvironmentFault(f"llama.cpp's converter {SCRIPT} was not found", next_step=HOW)
    missing = [name for name in ("gguf", "sentencepiece") if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentFault(f"llama.cpp's converter needs the package {missing[0]!r}", next_step=HOW)
    return found[0] if found else Path(str(on_path))


def to_gguf(subject: Subject, out: Path, kind: str, llama_cpp: Path | None) -> Path:
    """Merge and convert; `out` is the file to write.

    Args:
        kind: weight type: "q8_0", "bf16", "f16" or "f32".
    """
    refuse_existing(out)
    converter = find_converter(llama_cpp)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="mnatune-merged-", dir=out.parent) as scratch:
        return convert(merge(subject, Path(scratch) / "merged"), out, kind, converter)


def convert(merged: Path, out: Path, kind: str, converter: Path) -> Path:
    """Run the converter on a merged folder, and check what it wrote.

    Raises:
        EnvironmentFault: the converter failed; its last words are told.
    """
    with atomic_path(out) as partial:
        command = [sys.executable, str(converter), str(merged), "--outfile", str(partial), "--outtype", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not partial.is_file():
            words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            hint = HOW
            if "pre-tokenizer was not recognized" in done.stderr:
                hint = "llama.cpp knows the Qwen3 tokenizer; a model with a tokenizer of its own cannot become GGUF"
            fault = f"llama.cpp's converter failed: {' / '.join(words[-2:])}"
            raise EnvironmentFault(fault, where=str(converter), next_step=hint)
        check_gguf(partial, merged)
    return out


def check_gguf(file: Path, merged: Path) -> None:
    """Vocabulary, turn end and template of the file are those of the merged model, and no token is put in front.

    Raises:
        DataError: something differs.
    """
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(merged), trust_remote_code=False)
    fields = GGUFReader(str(file)).fields

    def value(key: str) -> Any:
        return fields[key].contents() if key in fields else None

    tokens = value("tokenizer.ggml.tokens") or []
    wanted = tokenizer.get_vocab()
    wrong = [token for token, number in wanted.items() if number >= len(tokens) or tokens[number] != token]
    told = {
        f"{len(wrong)} tokens differ, such as {wrong[:1]}": bool(wrong),
        "the turn end differs": value("tokenizer.ggml.eos_token_id") != tokenizer.eos_token_id,
        "a token would be put in front": bool(value("tokenizer.ggml.add_bos_token")),
        "the template differs": str(value("tokenizer.chat_template")).strip() != tokenizer.chat_template.strip(),
    }
    faults = [text for text, is_so in told.items() if is_so]
    if faults:
        raise DataError(f"the GGUF file does not match the model: {'; '.join(faults)}", where=str(file))
