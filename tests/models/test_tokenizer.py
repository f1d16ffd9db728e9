import pytest
from hypothesis import given
from hypothesis import strategies as st

from aha.models.tokenizer import EOS, PAD, train_tokenizer

TEXTS = [
    "What is 27 + 35? The answer is 62. <think> 27 + 35 = 62 </think> <answer> 62 </answer>",
    "计算 27 加 35 等于多少？答案是 62。",
] * 50


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 600)


def test_each_digit_and_each_chinese_character_is_one_token(tokenizer):
    assert tokenizer.tokenize("2735") == ["2", "7", "3", "5"]
    assert len(tokenizer.encode("答案是加等于")) == 6
    assert len(tokenizer.encode("27等于35")) == 6


def test_the_special_tokens_are_apart_and_nothing_is_added(tokenizer):
    assert tokenizer.eos_token == EOS
    assert tokenizer.pad_token == PAD
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.bos_token is None
    assert tokenizer.encode("7") == tokenizer.encode("7", add_special_tokens=False)
    assert len(tokenizer) <= 600


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(tokenizer, text):
    if EOS in text or PAD in text:
        return
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    "text", ["", "  \n\t ", "𠮷野家 👩‍🚀 ﬁ ①²", "１２３", "\r\n a  b ", "can't"]
)
def test_awkward_texts_survive(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_chat_template_keeps_the_thinking_and_marks_the_answer(tokenizer):
    talk = [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": "<think> 5 </think> 5"},
        {"role": "user", "content": "4?"},
        {"role": "assistant", "content": "4"},
    ]
    text = tokenizer.apply_chat_template(talk, tokenize=False)
    assert text == (
        "User: 2 + 3? Assistant: <think> 5 </think> 5<|endoftext|>"
        "User: 4? Assistant: 4<|endoftext|>"
    )
    prompt = tokenizer.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "User: 2 + 3? Assistant:"
    assert text.startswith(prompt)
    marked = tokenizer.apply_chat_template(
        talk, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    ids = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(ids) == " <think> 5 </think> 5<|endoftext|> 4<|endoftext|>"


def test_it_survives_saving(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])
    assert again.chat_template == tokenizer.chat_template
    assert (again.eos_token_id, again.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    assert not again.encode("").__len__()


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    again = train_tokenizer(TEXTS, 600)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(ValueError, match="258"):
        train_tokenizer(TEXTS, 100)
