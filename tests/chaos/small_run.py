"""The smallest run that has everything in it: a model made by hand, and a recipe for it.

The model is a two-layer Llama of width 32 whose embedding and head write down who follows whom:
after the prompt's last colon comes `<think>`, then a letter, `</think>`, `<answer>`, a digit, and
`</answer>`. So from the first step on answers are right, wrong, without form or cut, rewards
differ within groups, and graders have work. Nothing is shipped or fetched.
"""

from pathlib import Path

EOS = "<|end|>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
FOLLOWS: dict[str, dict[str, float]] = {
    ":": {"<think>": 11.0},
    "<think>": {"a": 10.0, "b": 10.0},
    "ab": {"</think>": 11.0},
    "</think>": {"<answer>": 11.0},
    "<answer>": dict.fromkeys("0123456789", 9.5),
    "0123456789": {"</answer>": 11.0, "x": 10.0, "1": 9.0},
    "x": {"</answer>": 11.0, EOS: 9.0},
}
"""Tokens (each letter of a key that is no tag is one) -> logit of the next; every other has 0."""

RECIPE = """
name = "run"
seed = 3
threads = 1
memory_gb = 4.0

[model]
path = "{model}"

[data]
train = "{train}"
heldout = "{heldout}"
max_prompt_tokens = 256

[zero]
steps = 6
minibatches = 2
prompts_per_step = 2
group_size = 4
max_answer_tokens = 12
kl_coef = 0.02
reference_every = 2
dynamic_sampling = 1
eval_every = 2
checkpoint_every = 2
keep_last = 2
preflight = 8
preflight_strict = false
grader_workers = 1
grader_seconds = 20.0

[zero.optim]
lr = 0.01

[zero.eval]
problems = 6
samples = 2
temperature = 1.0
"""
"""Three phases of two steps; reference, evaluation and checkpoint with every phase."""


def make_model(folder: Path) -> Path:
    """Write model and tokenizer into `folder`; the same bytes each time."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    width = 32
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        initializer_range=0.02,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = LlamaForCausalLM(config)
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embedding.normal_(0.0, 0.1)
        head.normal_(0.0, 0.02)
        for place, (before, after) in enumerate(FOLLOWS.items()):
            for token in tokens_of(before):
                row = embedding[tokenizer.convert_tokens_to_ids(token)]
                row.zero_()
                row[place] = 1.0
            for token, logit in after.items():
                # the final norm makes a one-hot vector sqrt(width) long
                head[tokenizer.convert_tokens_to_ids(token), place] = logit / width**0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer():  # type: ignore[no-untyped-def]
    """Byte-level BPE that was trained on the paper's template, so that a prompt is short."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from aha.data.templates import r1_zero

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([r1_zero()] * 2, trainer)
    inner.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS)


def tokens_of(key: str) -> list[str]:
    return [key] if key in TAGS else list(key)


def write_recipe(
    path: Path,
    model: Path,
    *,
    run_dir: Path,
    train: str = "arithmetic?difficulty=1&lang=en&n=64",
    heldout: str = "arithmetic?difficulty=1&lang=en&n=16",
) -> Path:
    """The recipe as a file; a trial changes fields with `--set`."""
    text = RECIPE.format(model=model, train=train, heldout=heldout)
    path.write_text(f"run_dir = {str(run_dir)!r}\n{text}", "utf-8")
    return path
