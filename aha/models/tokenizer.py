"""The embedded base model's tokenizer: byte-level BPE with single digits and Chinese characters.

Before BPE a text is split so that each digit and each Han character stands alone; merges never
cross these borders. So a number is read digit by digit, and a Chinese character of the training
texts is one token (others are up to four byte tokens; any text survives encode and decode).

    <|endoftext|>   ends a document and an answer
    <|pad|>         fills batches; never learned

No token is added at the beginning.

Not covered: tokenizers of other models; those come with their folders.
"""

from collections.abc import Iterable
from itertools import chain

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

EOS = "<|endoftext|>"
PAD = "<|pad|>"

ALONE = r"\p{N}|\p{Han}"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Words, signs and spaces as in GPT-2; a sign is never merged with a word."""

HAN_WEIGHT = 400
"""How often each Chinese character is repeated in training, so that it gets its own token."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{ message['content'] + ' ' }}
{%- elif message['role'] == 'user' -%}
{{ 'User: ' + message['content'] + ' ' }}
{%- elif message['role'] == 'assistant' -%}
{{ 'Assistant:' }}
{%- generation -%}
{{ ' ' + message['content'] + eos_token }}
{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'Assistant:' }}
{%- endif -%}
"""
"""User: question Assistant: answer, on one line as in the R1-Zero template. The answer keeps its
thinking; `{% generation %}` marks what is trained."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocab_size` tokens, special tokens included.

    `vocab_size` must hold the 256 bytes and the 2 special tokens; the same texts in the same order
    give the same tokenizer. Each Han character of the texts gets a token while there is room.
    """
    if vocab_size < 258:
        raise ValueError(f"vocab_size={vocab_size}; 256 bytes and 2 special tokens need 258")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(ALONE), behavior="isolated"),
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = list(texts)
    han = sorted({sign for text in texts for sign in text if "\u4e00" <= sign <= "\u9fff"})
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(texts, (sign * HAN_WEIGHT for sign in han)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
    )
