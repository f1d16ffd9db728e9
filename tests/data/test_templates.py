import pytest
import small_tokenizers as small

from aha.config import DataConfig
from aha.data.chat_templates import PLAIN
from aha.data.templates import example, lint, load_template
from aha.errors import ConfigError, DataError
from aha.records import Prompt

# DeepSeek-R1, Table 1, typed from the paper: one paragraph, `prompt` in red.
PAPER = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: prompt. Assistant:"
)


def ask(question="What is 3 + 4?"):
    return Prompt(id="p1", question=question, gold="7")


def chat(template, **config):
    tokenizer = template if not isinstance(template, str) else small.make(template)
    return load_template(DataConfig(template="chat", **config), tokenizer), tokenizer


def test_r1_zero_is_the_papers_text():
    tokenizer = small.make()
    rendered = load_template(DataConfig(), tokenizer).render(ask())
    assert rendered.text == PAPER.replace("prompt", "What is 3 + 4?")
    assert tokenizer.decode(rendered.token_ids) == rendered.text
    assert rendered.prefill == ""


def test_r1_zero_with_other_tags_and_a_suffix():
    config = DataConfig(think_tag="reason", answer_tag="result", suffix="Use \\boxed{}.")
    template = load_template(config, small.make())
    expected = PAPER.replace("think>", "reason>").replace("answer>", "result>")
    expected = expected.replace("prompt", "What is 3 + 4? Use \\boxed{}.")
    assert template.render(ask()).text == expected
    assert template.stop == ("</result>",)


@pytest.mark.parametrize(
    "question", ["{question}", "{0} %s {{x}}", "\\1 \\g<0> $1", "{{ 7 * 7 }}{% raw %}", "中文\n😀"]
)
def test_no_question_is_taken_for_a_format(question):
    tokenizer = small.make(small.QWEN)
    for config in (DataConfig(), DataConfig(template="chat")):
        rendered = load_template(config, tokenizer).render(ask(question))
        assert rendered.text.count(question) == 1
        assert tokenizer.decode(rendered.token_ids) == rendered.text


def test_a_beginning_token_is_added_only_if_the_tokenizer_adds_one():
    special = ("<|endoftext|>", "<s>")
    adding = small.make(special=special, bos="<s>", adds_bos=True, adds_eos=True)
    template = load_template(DataConfig(), adding)
    ids = template.render(ask()).token_ids
    assert ids[0] == adding.bos_token_id
    assert ids.count(adding.bos_token_id) == 1
    assert adding.eos_token_id not in ids
    assert adding.decode(ids[1:]) == template.render(ask()).text
    silent = small.make(special=special, bos="<s>")
    assert silent.bos_token_id not in load_template(DataConfig(), silent).render(ask()).token_ids


def test_chat_ids_are_those_of_the_rendered_text_and_of_transformers():
    for tokenizer in (small.make(small.QWEN), small.deepseek(), small.make(small.LLAMA2)):
        rendered = chat(tokenizer)[0].render(ask())
        again = tokenizer(rendered.text, add_special_tokens=False).input_ids
        theirs = tokenizer.apply_chat_template(
            [{"role": "user", "content": "What is 3 + 4?"}], add_generation_prompt=True
        )["input_ids"]
        assert list(rendered.token_ids) == again == theirs


def test_chat_text():
    rendered = chat(small.QWEN)[0].render(ask())
    assert rendered.text == ("<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n")
    rendered = chat(small.QWEN, system="Be brief.", suffix="\nThink.")[0].render(ask())
    assert rendered.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is 3 + 4?\nThink.<|im_end|>\n<|im_start|>assistant\n"
    )
    text = chat(small.deepseek())[0].render(ask()).text
    assert text == "<｜begin▁of▁sentence｜><｜User｜>What is 3 + 4?<｜Assistant｜><think>\n"


@pytest.mark.parametrize(
    "template, prefill",
    [
        (small.QWEN, ""),
        (small.QWEN_THINKING, "<think>\n"),
        (small.QWEN_EMPTY_THINK, "<think>\n"),
        (small.LLAMA2, ""),
        (small.PLAIN_TURNS, ""),
        (small.QWEN.replace("assistant\n{% endif", "assistant\nLet me think. {% endif"),
         "Let me think. "),
    ],
)  # fmt: skip
def test_what_of_the_prompt_belongs_to_the_answer(template, prefill):
    rendered = chat(template)[0].render(ask())
    assert rendered.prefill == prefill
    assert rendered.text.endswith(prefill)


def test_prefill_of_deepseek():
    assert chat(small.deepseek())[0].render(ask()).prefill == "<think>\n"


@pytest.mark.parametrize("config", [DataConfig(), DataConfig(template="chat")])
@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>"])
def test_control_tokens_in_a_question_are_refused(config, token):
    template = load_template(config, small.make(small.QWEN))
    with pytest.raises(DataError, match=r"p1: .*control token"):
        template.render(ask(f"Ignore this{token}\n"))


def test_role_marks_that_are_not_special_are_refused_too():
    template, tokenizer = chat(small.deepseek())
    assert not tokenizer.added_tokens_decoder[tokenizer.convert_tokens_to_ids("<｜User｜>")].special
    with pytest.raises(DataError, match="control token"):
        template.render(ask("a<｜User｜>b"))


def test_end_of_sequence_ids_come_from_three_places():
    tokenizer = small.make(small.QWEN)
    end, turn = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert chat(tokenizer)[0].eos_ids == (end, turn)
    given = load_template(DataConfig(), tokenizer, generation_eos=[7, end])
    assert given.eos_ids == (end, 7, turn)
    assert load_template(DataConfig(), tokenizer, generation_eos=7).eos_ids == (end, 7, turn)
    assert load_template(DataConfig(), tokenizer, generation_eos=None).eos_ids == (end, turn)
    assert load_template(DataConfig(), small.make()).eos_ids == (end,)
    assert load_template(DataConfig(), small.make(eos=None)).eos_ids == ()
    assert chat(small.LLAMA2)[0].eos_ids == (end,)
    assert chat(small.PLAIN_TURNS)[0].turn_end is None


def test_stop_strings():
    tokenizer = small.make(small.QWEN)
    assert load_template(DataConfig(), tokenizer).stop == ("</answer>",)
    assert chat(tokenizer)[0].stop == ()


def test_a_template_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"Q: {question}\nThink in <answer> </answer>.\nA: <think>\n")
    template = load_template(DataConfig(template=str(path)), small.make())
    rendered = template.render(ask())
    assert rendered.text == "Q: What is 3 + 4?\nThink in <answer> </answer>.\nA: <think>"
    assert rendered.prefill == "<think>"
    assert template.stop == ("</answer>",)
    assert template.name == "mine.txt"
    path.write_text("Q: {question}\nA:")
    assert load_template(DataConfig(template=str(path)), small.make()).stop == ()


@pytest.mark.parametrize("text", ["no place", "{question} and {question}"])
def test_a_template_file_needs_one_place(tmp_path, text):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match="exactly once"):
        load_template(DataConfig(template=str(path)), small.make())


@pytest.mark.parametrize(
    "config, tokenizer, said",
    [
        ({"template": "chat"}, small.make(), "set data.template=r1-zero"),
        ({"template": "r1_zero"}, small.make(), "did you mean 'r1-zero'"),
        ({"template": "/nowhere/x"}, small.make(), "is no template and no file"),
        ({"system": "S"}, small.make(), "data.system has no place"),
        ({"template": "chat", "system": "S"}, small.make(small.GEMMA), "set data.system=''"),
        ({"template": "chat", "system": "S"}, small.make(small.LLAMA2), "does not write it"),
        ({"template": "chat"}, small.make("{% for %}"), "chat template fails"),
        ({"template": "chat"}, small.make("hello"), "leaves out the question"),
    ],
)
def test_templates_that_are_refused(config, tokenizer, said):
    with pytest.raises(ConfigError) as error:
        load_template(DataConfig(**config), tokenizer)
    assert said in str(error.value)


def test_the_hash_follows_what_determines_the_rendering():
    plain, other = small.make(small.QWEN), small.make(small.QWEN_THINKING)

    def hashed(tokenizer, **config):
        return load_template(DataConfig(**config), tokenizer).hash

    hashes = [
        hashed(plain),
        hashed(plain, suffix="x"),
        hashed(plain, think_tag="t"),
        hashed(plain, template="chat"),
        hashed(plain, template="chat", system="S"),
        hashed(other, template="chat"),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hashed(plain) == hashed(other) == hashed(plain, max_prompt_tokens=5)
    assert all(len(each) == 12 for each in hashes)


def test_lint_of_a_good_template_is_silent():
    tokenizer = small.make(small.QWEN, added=("<think>", "</think>"), eos="<|im_end|>")
    assert lint(chat(tokenizer)[0], tokenizer) == []
    assert lint(load_template(DataConfig(), tokenizer), tokenizer) == []
    thinking = small.make(small.QWEN_THINKING, added=("<think>", "</think>"), eos="<|im_end|>")
    assert lint(chat(thinking)[0], thinking) == []


def test_lint_names_each_trouble():
    tokenizer = small.deepseek()
    found = " ".join(lint(chat(tokenizer)[0], tokenizer))
    assert "drops the text before </think>" in found
    assert "not the beginning of the rendered conversation" in found
    assert "not one each" not in found

    tokenizer = small.make(small.QWEN, pad="<|endoftext|>")
    found = " ".join(lint(chat(tokenizer)[0], tokenizer))
    assert "an assistant turn ends in <|im_end|>" in found
    assert "padding and end-of-sequence are one token" in found
    assert "<think> and </think> are" in found
    assert "drops" not in found

    tokenizer = small.make(eos=None)
    found = " ".join(lint(load_template(DataConfig(), tokenizer), tokenizer))
    assert "no end-of-sequence token" in found

    tokenizer = small.make(small.PLAIN_TURNS)
    assert "no control token" in " ".join(lint(chat(tokenizer)[0], tokenizer))

    tokenizer = small.make("{{ strftime_now('%d') }}" + small.QWEN)
    assert "today's date" in " ".join(lint(chat(tokenizer)[0], tokenizer))


def test_chat_style_needs_no_answer_tag(tmp_path):
    tokenizer = small.make(small.QWEN)
    template = load_template(DataConfig(template="chat", answer_tag=""), tokenizer)
    assert (template.answer_tag, template.stop) == ("", ())
    path = tmp_path / "mine.txt"
    path.write_text("{question} Write </> never. <think>")
    file = load_template(DataConfig(template=str(path), answer_tag=""), small.make())
    assert (file.stop, file.prefill) == ((), "<think>")
    with pytest.raises(ValueError, match="r1-zero asks for an answer in its tag"):
        DataConfig(answer_tag="")


THOUGHT = "<think>\nThree and four.\n</think>\n\nIt is \\boxed{7}."
NO_THOUGHT = "<think>\n\n</think>\n\nHello!"


@pytest.mark.parametrize(
    "tokenizer, thought, empty",
    [
        (small.make(small.QWEN), THOUGHT, NO_THOUGHT),
        (small.make(small.QWEN_THINKING), THOUGHT, "<think>\n</think>\n\nHello!"),
        (small.deepseek(), THOUGHT, "<think>\n</think>\n\nHello!"),
    ],
    ids=["qwen", "prefilled", "deepseek"],
)
def test_an_empty_thinking_part_is_learned_where_a_prefill_stands(tokenizer, thought, empty):
    """Prompt and answer together hold the tag once, prefilled or not: what is learned can be asked for."""
    template, _ = chat(tokenizer, answer_tag="")
    asked = template.render(ask("Hello?")).text
    for response, text in ((THOUGHT, thought), (NO_THOUGHT, empty)):
        prompt, answer = example(template, [("user", "Hello?")], response)
        whole = tokenizer.decode([*prompt, *answer])
        assert whole.startswith(asked)
        assert whole.removeprefix(asked.removesuffix(template.prefill)).startswith(text)
        assert whole.count("<think>") == whole.count("</think>") == 1


def test_tags_are_control_tokens_for_users_alone():
    """DeepSeek's template writes `<think>` itself; an answer may hold it, a question may not."""
    template, _ = chat(small.deepseek(), answer_tag="")
    assert "<think>" in template.control
    example(template, [("user", "a")], THOUGHT)
    with pytest.raises(DataError, match="user contains the control token '<think>'"):
        example(template, [("user", "a <think>")], THOUGHT)
    with pytest.raises(DataError, match="the response contains the control token '<｜User｜>'"):
        example(template, [("user", "a")], THOUGHT + "<｜User｜>")


def test_every_turn_of_a_dialogue_in_chat_style():
    """The turn that is learned keeps its thinking; earlier ones are as the model's template writes them:
    DeepSeek's keeps what follows their thinking, Qwen's (here) everything."""
    turns = [("user", "3 + 4?"), ("assistant", THOUGHT), ("user", "And 5?")]
    for tokenizer, before in ((small.deepseek(), False), (small.make(small.QWEN), True)):
        template, _ = chat(tokenizer, answer_tag="")
        prompt, answer = example(template, turns, THOUGHT)
        assert ("Three and four" in tokenizer.decode(prompt)) is before
        assert "It is \\boxed{7}." in tokenizer.decode(prompt)
        assert "Three and four" in tokenizer.decode(answer)


PLAIN_CONFIG = DataConfig(template="chat", answer_tag="", chat_template="plain")


@pytest.mark.parametrize(
    "tokenizer, begins",
    [
        (small.make(special=("<s>", "</s>"), bos="<s>", eos="</s>", adds_bos=True), "<s>"),
        (small.make(), ""),
        (small.make(small.DEEPSEEK), ""),  # in place of its own
    ],
)
def test_a_tokenizer_without_template_gets_the_plain_one(tokenizer, begins):
    template = load_template(PLAIN_CONFIG, tokenizer)
    assert template.render(ask()).text == f"{begins}User: What is 3 + 4?\n\nAssistant:"
    assert template.turn_end == tokenizer.eos_token_id
    assert template.prefill == ""
    assert not [said for said in lint(template, tokenizer) if "token" not in said]
    assert tokenizer.chat_template == PLAIN  # what saves the tokenizer saves it
    own = load_template(DataConfig(template="chat", answer_tag=""), tokenizer)
    assert own.hash == template.hash


def test_the_plain_template_trains_thinking_and_forgets_earlier_thinking():
    tokenizer = small.make(special=("<s>", "</s>"), bos="<s>", eos="</s>")
    template = load_template(PLAIN_CONFIG, tokenizer)
    thought = "<think>\nx\n</think>\n\nA"
    turns = [("system", "Be kind."), ("user", "a"), ("assistant", thought), ("user", "b")]
    before, answer = example(template, turns, "<think>\ny\n</think>\n\nB")
    assert tokenizer.decode(before) == (
        "<s>Be kind.\n\nUser: a\n\nAssistant: A</s>\n\nUser: b\n\nAssistant:"
    )
    assert tokenizer.decode(answer) == " <think>\ny\n</think>\n\nB</s>"
    messages = [{"role": role, "content": text} for role, text in turns]
    messages.append({"role": "assistant", "content": "<think>\ny\n</think>\n\nB"})
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == tokenizer.decode([*before, *answer])


def test_a_chat_template_of_ones_own(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(small.QWEN)
    tokenizer = small.make()
    given = DataConfig(template="chat", chat_template=str(path))
    assert load_template(given, tokenizer).hash == chat(small.QWEN)[0].hash


@pytest.mark.parametrize(
    "name, said",
    [
        ("plane", r"did you mean 'plain'\? write plain, or the path"),
        ("no/such.jinja", r"is no template and no file; write plain"),
        ("nul\0", r"cannot read the chat template"),
        (".", r"cannot read the chat template"),
    ],
)
def test_chat_templates_that_are_not_there(name, said):
    with pytest.raises(ConfigError, match=said):
        load_template(DataConfig(template="chat", chat_template=name), small.make())


def test_chat_templates_that_cannot_work(tmp_path):
    with pytest.raises(ConfigError, match="and it has none"):
        load_template(PLAIN_CONFIG, small.make(eos=None))
    (tmp_path / "empty.jinja").write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        chat("x", chat_template=str(tmp_path / "empty.jinja"))
    with pytest.raises(ValueError, match=r"template='chat' only, not with template='r1-zero'"):
        DataConfig(chat_template="plain")
