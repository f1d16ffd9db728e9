import pytest
import small_tokenizers as small

from aha.config import DataConfig
from aha.data.lengths import render_all
from aha.data.templates import load_template
from aha.errors import DataError
from aha.records import Prompt


def prompts(*questions):
    return [Prompt(id=f"p{n}", question=q, gold="1") for n, q in enumerate(questions)]


def test_long_and_refused_prompts_are_dropped_never_cut():
    template = load_template(DataConfig(), small.make())
    room = len(template.render(prompts("a")[0]).token_ids)
    questions = prompts("a", "a much longer question", "b", "x<|endoftext|>")
    kept, dropped = render_all(template, questions, room)
    assert [each.prompt.id for each in kept] == ["p0", "p2"]
    assert [each.prompt.id for each in dropped] == ["p1", "p3"]
    assert all(len(each.token_ids) <= room for each in kept)
    assert dropped[0].tokens > room
    assert f"above max_prompt_tokens={room}" in dropped[0].reason
    assert dropped[1].tokens == 0
    assert "control token" in dropped[1].reason


def test_nothing_left():
    template = load_template(DataConfig(), small.make())
    length = len(template.render(prompts("a")[0]).token_ids)
    with pytest.raises(DataError) as error:
        render_all(template, prompts("a", "a longer one"), 3)
    assert "none of 2 prompts" in str(error.value)
    assert f"the shortest has {length} tokens: raise data.max_prompt_tokens" in str(error.value)
    with pytest.raises(DataError, match="none of 1 prompts"):
        render_all(template, prompts("<|endoftext|>"), 1000)
