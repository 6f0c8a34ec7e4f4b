"""Adapters made on the spot."""

from pathlib import Path

TARGETS = ["q_proj", "v_proj", "down_proj"]


def make_adapter(model: Path, folder: Path, seed: int, strength: float = 0.5) -> Path:
    """A random adapter that changes the model's answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(r=4, target_modules=TARGETS))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=strength)
    tuned.save_pretrained(folder)
    return folder
