"""Pairs from a judge as a stage: from samples to a reward model, and the same ones after a kill."""

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from byte_words import tokenizer
from hypothesis import given
from hypothesis import strategies as st
from judge_server import completion, send, server

from aha import config, files
from aha.config import DataConfig
from aha.data.judged_pairs import Answered
from aha.errors import ConfigError, DataError, ModelError, RunError
from aha.evals.judge_local import LocalJudge
from aha.rewards.judge_ask import Asked, Reply, Sampling
from aha.rewards.judge_cache import VerdictCache
from aha.rewards.judge_screen import summary
from aha.stages import artefacts, dag, judged, launch, planning, start


@pytest.fixture(autouse=True, scope="module")
def threads_as_before():
    """A stage sets them for its whole process."""
    kept = torch.get_num_threads()
    yield
    torch.set_num_threads(kept)


def worth(text):
    """What the judges below hold of an answer: nothing that length or place could tell."""
    return hashlib.sha256(text.encode()).hexdigest()


def opinion(body):
    """A judge whose word depends on the two answers alone."""
    text = body["messages"][1]["content"]
    a, b = (text.split(f" answer {x} begins ---\n")[1].split("\n--- ")[0] for x in "AB")
    return f"so [[{'A>>B' if worth(a) > worth(b) else 'B>>A'}]]"


def answers_with(reply):
    return lambda handler, number, body: send(
        handler, 200, json.dumps(completion(reply(body))).encode()
    )


def asked(seen):
    """What was asked, each asking once for each time."""
    return Counter(json.dumps(one["body"], sort_keys=True) for one in seen)


def tiny(folder, verdict=""):
    """A language model of the smallest sort; with a verdict, one that says it and ends, whatever it reads."""
    import transformers as tf

    torch.manual_seed(3)
    words = tokenizer()
    words.add_tokens([verdict] if verdict else [])
    model = tf.LlamaForCausalLM(
        tf.LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=8192,
            eos_token_id=words.eos_token_id,
            bos_token_id=None,
            pad_token_id=words.pad_token_id,
        )
    )
    if verdict:  # the layers add nothing, so the next token follows from the last one alone
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            said = words.convert_tokens_to_ids(verdict)
            model.model.embed_tokens.weight.zero_()[:, 0] = 1.0
            model.model.embed_tokens.weight[said] = torch.eye(32)[1]
            model.lm_head.weight.zero_()
            model.lm_head.weight[said, 0] = model.lm_head.weight[words.eos_token_id, 1] = 1.0
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def stage(url="http://127.0.0.1:1/v1", **keys):
    judge = {"url": url, "model": "judge-1", "parallel": 3}
    return {"kind": "judge", "judge": judge, "length_bound": 0, **keys}


def recipe(folder, stages, **more):
    raw = {"name": "run", "run_dir": str(folder / "runs"), "threads": 1, "memory_gb": 4}
    return config.resolve(raw | {"stage": stages} | more)


def run(made, **more):
    root = Path(made.run_dir) / made.name
    launch.run(made, root, **more)
    return root


def of_file(folder, url, rows, **keys):
    """A recipe with nothing but a judge and answers in a file."""
    files.write_jsonl(folder / "answers.jsonl", rows)
    return recipe(folder, {"liked": stage(url, answers=str(folder / "answers.jsonl"), **keys)})


def rows(count, answers=3):
    return [
        {"id": f"q{i}", "prompt": f"Question {i}?", "answers": [f"{i} is {j}" for j in range(answers)]}
        for i in range(count)
    ]  # fmt: skip


def pairs_in(root, name="liked"):
    return files.read_jsonl(root / name / "pairs.jsonl")


# -- from samples to a reward model --------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """sample -> judge -> reward_model, through a real server."""
    folder = tmp_path_factory.mktemp("whole")
    sampled = {"kind": "sample", "problems": 12, "samples": 5, "max_answer_tokens": 60}
    sampled |= {"correct": False}
    with server(answers_with(opinion)) as (url, seen):
        made = recipe(
            folder,
            {
                "asked": sampled,
                "liked": stage(url, answers="stage:asked", per_question=3, length_bound=3.0),
                "helpful": {"kind": "reward_model", "train": "stage:liked", "heldout_share": 0.2,
                            "start": tiny(folder / "tiny"), "examples_per_step": 8},
            },
            data={"train": "arithmetic?digits=1&n=60"},
        )  # fmt: skip
        root = run(made)
    return root, made, seen


def test_a_judge_decides_and_a_reward_model_learns_it(whole):
    root, _, seen = whole
    pairs = pairs_in(root)
    sampled = {}
    for row in files.read_jsonl(root / "asked" / "eval" / "samples.jsonl"):
        if row["stopped"] != "length":
            texts = sampled.setdefault(row["question"], set())
            texts.add((row["prefill"] + row["response"]).strip())
    assert pairs
    for (
        row
    ) in pairs:  # whole answers as they were sampled; only what follows the thinking was judged
        assert {row["chosen"], row["rejected"]} <= sampled[row["prompt"]]
        assert worth(summary(row["chosen"])) > worth(summary(row["rejected"]))
        assert row["score"] == 2
    assert set(asked(seen).values()) == {1}
    facts = json.loads((root / "liked" / "data.json").read_text())
    told = facts["judged"]
    assert told["kept"] + sum(told["left_out"].values()) == told["candidates"]
    # two rounds of both orders; what was the same summary twice is one asking more seldom
    assert 0 < len(seen) <= 4 * told["candidates"]
    assert told["kept"] - facts["balance"]["dropped"] == facts["pairs"] == len(pairs)
    assert facts["sources"] == ["stage:asked"]
    assert facts["answers"]["read"] == 60
    learned = json.loads((root / "helpful" / "data.json").read_text())
    assert learned["rows"] == len(pairs)
    assert learned["learned"] + learned["heldout"] > 0
    assert (root / "helpful" / "model" / "config.json").is_file()


def test_replies_of_a_judge_are_in_no_hash_and_pairs_are(whole):
    found = artefacts.hashes(whole[0])
    assert {"liked/pairs.jsonl", "liked/data.json", "liked/lineage.json"} <= found.keys()
    assert "liked/judgements.jsonl" not in found
    assert str(whole[0]) not in (whole[0] / "liked" / "data.json").read_text()


def test_the_way_back_names_answers_pairs_and_stages(whole):
    root = whole[0]
    liked = json.loads((root / "liked" / "lineage.json").read_text())
    assert liked["start"] is None  # no model is trained or sampled here
    [answers] = liked["data"]
    path = root / "asked" / "eval" / "samples.jsonl"
    assert answers["files"] == [{"file": "samples.jsonl", "rows": 60, "sha256": files.sha256(path)}]
    assert (answers["source"], answers["from"]["stage"]) == ("stage:asked", "asked")
    assert liked["heldout"] == liked["rewards"] == []
    [pairs] = json.loads((root / "helpful" / "lineage.json").read_text())["data"]
    assert (pairs["from"]["stage"], pairs["from"]["data"][0]["from"]["stage"]) == ("liked", "asked")


def test_the_graph_and_the_report_have_the_stage(whole):
    root, made, _ = whole
    edges = {n.name: [p.name for p in n.parents] for n in dag.graph(made)}
    assert edges == {"asked": [], "liked": ["asked"], "helpful": ["liked"]}
    assert "liked" in (root / "report.html").read_text("utf-8")
    assert planning.facts(made, root=root)["total"]["to_do"] == 0


@pytest.mark.parametrize("left", [0.0, 0.3, 0.999])
def test_killed_at_any_time_it_asks_the_rest_alone_and_writes_the_same(
    tmp_path, whole, monkeypatch, left
):
    """What is on the disk of a killed stage: some replies, the last one perhaps torn, and no more."""
    root, made, seen = whole
    shutil.copytree(root, tmp_path / "run")
    liked = tmp_path / "run" / "liked"
    for name in ("pairs.jsonl", "data.json", "lineage.json", "DONE"):
        (liked / name).unlink()
    data = (liked / "judgements.jsonl").read_bytes()
    (liked / "judgements.jsonl").write_bytes(data[: int(left * len(data))])
    told = (liked / "judgements.jsonl").read_bytes().count(b"\n")
    # the recipe names the address of a server that is gone by now: its replies come from here
    again = []

    def ask(self, one):
        again.append({"body": self._request(one)})
        return Reply(status="ok", text=opinion(again[-1]["body"]))

    monkeypatch.setattr("aha.rewards.judge_http.Endpoint._ask", ask)
    launch.run(made, tmp_path / "run")
    for name in ("pairs.jsonl", "data.json", "lineage.json"):
        assert (liked / name).read_bytes() == (root / "liked" / name).read_bytes(), name
    assert len(again) == len(seen) - told
    assert not asked(again) - asked(seen)


def test_stopped_between_two_replies_nothing_is_asked_twice(tmp_path, monkeypatch):
    put, kept = VerdictCache.put, []

    def stops(self, key, reply):
        put(self, key, reply)
        kept.append(key)
        if len(kept) == 5:
            raise KeyboardInterrupt

    with server(answers_with(opinion)) as (url, seen):
        once = run(of_file(tmp_path, url, rows(6), per_question=2))
        alone = asked(seen)
        seen.clear()
        monkeypatch.setattr(VerdictCache, "put", stops)
        other = recipe(tmp_path, {"liked": dict(stage(url, answers=str(tmp_path / "answers.jsonl"),
                                                      per_question=2))}, name="killed")  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            run(other)
        assert 5 <= len(seen) < alone.total()
        monkeypatch.setattr(VerdictCache, "put", put)
        root = run(other)
    assert asked(seen) == alone
    assert (root / "liked" / "pairs.jsonl").read_bytes() == (
        once / "liked" / "pairs.jsonl"
    ).read_bytes()


# -- a judge that fails --------------------------------------------------------------------------


def test_a_judge_that_goes_away_stops_the_stage_and_nothing_is_lost(tmp_path):
    """Else its failure would be a small file of pairs, and nobody would ask again."""
    there = []

    def respond(handler, number, body):
        if there or number < 40:
            answers_with(opinion)(handler, number, body)
        else:
            handler.send_error(400)

    with server(respond) as (url, seen):
        made = of_file(tmp_path, url, rows(20))
        with pytest.raises(
            RunError, match=r"did not answer about \d+ of 20 pairs.*=0\.05.*aha resume"
        ):
            run(made)
        folder = tmp_path / "runs" / "run" / "liked"
        assert not (folder / "pairs.jsonl").exists()
        kept = (folder / "judgements.jsonl").read_text().splitlines()
        assert len(kept) == 40
        there.append(True)
        seen.clear()
        root = run(made)
    assert len(seen) == 4 * 20 - 40
    assert len(pairs_in(root)) == 20


def test_a_judge_that_answers_nothing_is_not_asked_to_the_end(tmp_path):
    with server(lambda handler, number, body: handler.send_error(400)) as (url, seen):
        with pytest.raises(
            RunError, match=r"about 32 of 32 pairs.*max_judge_failures=0\.5.*http_400"
        ):
            run(of_file(tmp_path, url, rows(70), max_judge_failures=0.5))
        assert len(seen) == 4 * judged.BLOCK  # half of 70 were allowed, but it is gone


def test_failures_within_the_share_are_counted_and_cost_their_pair_only(tmp_path):
    def respond(handler, number, body):
        if "Question 3?" in body["messages"][1]["content"]:
            handler.send_error(400)
        else:
            answers_with(opinion)(handler, number, body)

    with server(respond) as (url, _):
        root = run(of_file(tmp_path, url, rows(10), max_judge_failures=0.1))
    facts = json.loads((root / "liked" / "data.json").read_text())
    assert facts["judged"]["left_out"] == {"error": 1}
    assert len(pairs_in(root)) == 9
    assert "q3" in facts["judged"]["first_failures"][0]


def test_replies_without_a_verdict_are_replies(tmp_path):
    """They are kept: asked again, the judge might say otherwise, and the pairs would be others."""
    with server(answers_with(lambda body: "Hm.")) as (url, seen):
        made = of_file(tmp_path, url, rows(2), max_judge_failures=0.0)
        for _ in range(2):
            with pytest.raises(DataError, match=r"no pair is left to learn .*2 unparsed.*margin"):
                run(made)
            assert len(seen) == 8


def test_a_judge_that_likes_a_place_is_told(tmp_path, capsys):
    with (
        server(answers_with(lambda body: "[[A>>B]]")) as (url, _),
        pytest.raises(DataError, match="2 inconsistent"),
    ):
        run(of_file(tmp_path, url, rows(2)))
    assert "it likes a place, not an answer" in "".join(capsys.readouterr())


# -- a model of this machine ---------------------------------------------------------------------


def test_a_model_of_this_machine_judges(tmp_path, monkeypatch):
    """Its verdicts are read as they are; its replies are kept, those that are too long for it too."""
    calls = []
    ask_all = LocalJudge.ask_all

    def counted(self, some):
        calls.append(len(some))
        return ask_all(self, some)

    monkeypatch.setattr(LocalJudge, "ask_all", counted)
    some = [*rows(2, answers=2), {"prompt": "Long?", "answers": ["a " * 4000, "b " * 4000]}]
    files.write_jsonl(tmp_path / "answers.jsonl", some)
    made = recipe(
        tmp_path,
        {
            "liked": {
                "kind": "judge",
                "answers": str(tmp_path / "answers.jsonl"),
                "judge": {"path": tiny(tmp_path / "judge", "[[A>>B]]"), "max_tokens": 4},
                "max_judge_failures": 0.5,
            }
        },
    )
    said = []
    for _ in range(2):
        with pytest.raises(DataError, match=r"2 inconsistent, 1 error.*too_long"):
            run(made)
        said.append((tmp_path / "runs" / "run" / "liked" / "data.json").read_bytes())
    assert calls == [12]  # three pairs, two rounds, both orders: all at once, and never again
    assert said[0] == said[1]
    replies = files.read_jsonl(tmp_path / "runs" / "run" / "liked" / "judgements.jsonl")
    assert sum("[[A>>B]]" in row["reply"] for row in replies) == 8
    resolved = json.loads((tmp_path / "runs" / "run" / "liked" / "resolved.json").read_text())
    assert resolved == {"resolved": {"threads": 1}}


def asking(text, **more):
    sampling = Sampling(max_tokens=8, **more)
    return Asked(messages=({"role": "user", "content": text},), sampling=sampling)


class Counting:
    """An asker that says what it was asked, and with which status."""

    name = "counting"

    def __init__(self):
        self.asked = []

    def ask_all(self, asked):
        texts = [one.messages[0]["content"] for one in asked]
        self.asked.append(texts)
        return [
            Reply(status=text if text in ("refused", "timeout", "error") else "ok", text=text,
                  cut=text == "cut", ms=5.0)
            for text in texts
        ]  # fmt: skip


def test_an_endpoint_is_asked_again_for_what_did_not_come_and_a_local_model_is_not(tmp_path):
    some = [asking(text) for text in ("fine", "cut", "refused", "timeout", "error")]
    for parallel, again in ((2, [["error"], ["timeout"]]), (0, [])):
        path, asker = tmp_path / f"{parallel}.jsonl", Counting()
        first = judged.Kept(asker, VerdictCache(path), parallel=parallel).ask_all(some)
        asker.asked.clear()
        second = judged.Kept(asker, VerdictCache(path), parallel=parallel).ask_all(some)
        assert sorted(asker.asked) == again
        plain = [(one.status, one.text, one.cut) for one in first]
        assert plain == [(one.status, one.text, one.cut) for one in second]
        assert plain[1:3] == [("ok", "cut", True), ("refused", "refused", False)]
    # other sampling is another asking
    judged.Kept(asker, VerdictCache(path), parallel=0).ask_all([asking("fine", temperature=0.5)])
    assert asker.asked == [["fine"]]


def test_a_local_model_is_handed_the_same_blocks_after_a_kill(tmp_path):
    """What is decoded side by side may decide last bits."""
    some = [asking(f"{number}") for number in range(judged.TOGETHER + 3)]
    whole, asker = Counting(), Counting()
    judged.Kept(whole, VerdictCache(tmp_path / "a"), parallel=0).ask_all(some)
    cache = VerdictCache(tmp_path / "b")
    kept = judged.Kept(asker, cache, parallel=0)
    kept.ask_all(some[: judged.TOGETHER])  # the first block is whole, of the second there is a part
    cache.put(kept._key(some[-1]), "torn")
    asker.asked.clear()
    kept.ask_all(some)
    assert asker.asked == [whole.asked[1]]


@pytest.mark.parametrize("line", ["", "null", "[]", "7", '{"status": "ok"}', "[" * 100_000])
def test_a_reply_that_is_damaged_is_none(line):
    assert judged._stored(line) is None


# -- what is compared ----------------------------------------------------------------------------


def sampled(folder, rows, **own):
    """The folder of a sampling stage, as far as it is read."""
    (folder / "eval").mkdir(parents=True)
    base = {
        "problem": "p",
        "prefill": "",
        "stopped": "eos",
        "question": "Q?",
        "domain": "",
        "area": "a",
    }
    files.write_jsonl(folder / "eval" / "samples.jsonl", [base | row for row in rows])
    data = {"template": own.pop("template", "r1-zero")}
    text = config.dump_toml({"seed": 0, "data": data, "asked": {"kind": "sample", **own}})
    files.write_text(folder / "config.toml", text)
    return str(folder)


def found(*sources, **data):
    made = config.resolve({"stage": {"s": stage(answers=list(sources))}}).stage["s"]
    return judged.read(made, DataConfig(**data))


def test_every_answer_of_a_sampling_stage_is_taken_or_counted(tmp_path):
    folder = sampled(
        tmp_path / "asked",
        [
            {"response": "2+2 is 4</think> Four.", "prefill": "<think>\n"},
            {"response": "Five.", "domain": "maths"},
            {"response": "So it is", "stopped": "length"},
            {"response": "<think>and on"},
            {"response": "  "},
            {"response": "Solution:"},
            {"response": "\ud800"},
            {"problem": "r", "question": "Other?", "response": "a", "domain": "helpful"},
        ],
    )
    got = found(folder)
    assert [(one.id, one.question, one.domain) for one in got.questions] == [
        ("p", "Q?", "a"), ("r", "Other?", "helpful")
    ]  # fmt: skip
    assert got.questions[0].answers == ("<think>\n2+2 is 4</think> Four.", "Five.")
    left = {"cut": 1, "think_open": 1, "empty": 1, "only_opener": 1, "garbled": 1}
    assert (got.answers, got.left_out) == (8, left)
    assert sum(len(one.answers) for one in got.questions) + sum(left.values()) == got.answers
    assert [one.id for one in found(f"{folder}/eval/samples.jsonl?n=1").questions] == ["p"]
    with pytest.raises(ConfigError, match="no key 'split'"):
        found(f"{folder}?split=train")


@pytest.mark.parametrize(
    "own, kept",
    [
        ({"bare": True}, "Hi."),
        ({"bare": True, "template": "chat"}, "Hi. User: and\nUser: more"),
        ({"bare": False}, "Hi. User: and\nUser: more"),
        ({"prompting": "few_shot"}, "Hi."),
        ({"prompting": "few_shot", "template": "chat"}, "Hi. User: and\nUser: more"),
    ],
)
def test_where_a_base_model_goes_on_with_a_next_question_its_answer_ends(tmp_path, own, kept):
    """As the sampling stage reads it, which keeps what was sampled as it was."""
    row = {"response": "Hi. User: and\nUser: more"}
    assert found(sampled(tmp_path / "a", [row], **own)).questions[0].answers == (kept,)


def test_a_question_of_two_sources_is_one_and_ids_stay_apart(tmp_path):
    files.write_jsonl(tmp_path / "b.jsonl", [
        {"id": "p", "question": "Another?", "answers": ["x", "y"]},
        {"id": "z\ud800", "question": "Q?", "answers": ["one", "three"]},
        {"id": "z\ud800", "question": "Third?", "answers": ["one", "three"]},
    ])  # fmt: skip
    got = found(sampled(tmp_path / "a", [{"response": "two"}]), str(tmp_path / "b.jsonl"))
    assert [(one.id, one.answers) for one in got.questions] == [
        ("p", ("two", "one", "three")), ("p#2", ("x", "y")), ("z?", ("one", "three"))
    ]  # fmt: skip


def test_what_no_sampling_stage_wrote_is_told(tmp_path):
    (tmp_path / "eval").mkdir()
    files.write_jsonl(tmp_path / "eval" / "samples.jsonl", [{"problem": "p"}])
    with pytest.raises(DataError, match=r"line 1 is no sampled answer.*kind sample"):
        found(str(tmp_path))


def test_nothing_to_compare_is_told_before_the_judge_is_asked(tmp_path):
    with pytest.raises(DataError, match="none of 3 questions has two different answers"):
        run(of_file(tmp_path, "http://127.0.0.1:1/v1", rows(3, answers=1)))


@given(st.lists(st.sampled_from("abc "), max_size=6), st.integers(1, 9))
def test_as_many_pairs_are_announced_as_are_compared(answers, most):
    """The bound on failures and the heartbeat count with it."""
    from aha.data.judged_pairs import judge_pairs
    from aha.rewards.judge import Judge
    from aha.rewards.judge_ask import Called

    one = Answered(id="q", question="q", answers=tuple(answers))
    told = judge_pairs(Judge(asker=Called(lambda _: "", name="t")), [one], per_question=most)
    assert told.candidates == judged.pairs_of(one, most)


# -- the recipe ----------------------------------------------------------------------------------

ASKED = {"kind": "sample", "problems": 20, "samples": 4}


def test_the_graph_is_planned_before_anything_is_sampled(tmp_path):
    made = recipe(
        tmp_path,
        {
            "asked": ASKED,
            "liked": stage(answers=["stage:asked?n=5"], per_question=10, rounds=1),
            "helpful": {"kind": "reward_model", "train": "stage:liked?n=20"},
            "dev": {"kind": "dpo", "train": "stage:liked"},
        },
    )
    stages = planning.facts(made, root=tmp_path / "runs" / "run")["stages"]
    # four answers have six pairs
    [note] = stages["liked"]["notes"]
    assert note.startswith("at most 30 pairs, each put to judge-1 2 times: at most 60 askings")
    assert stages["helpful"]["examples"] == 20
    assert stages["dev"]["examples"] == 30


def test_answers_in_a_file_are_counted_and_a_judge_that_is_not_there_is_told(tmp_path):
    made = of_file(tmp_path, "http://127.0.0.1:1/v1", rows(7))
    found = planning.facts(made, root=tmp_path / "none")
    assert found["stages"]["liked"]["notes"][0].startswith("7 pairs, each put to judge-1 4 times")
    assert "liked (judge, to do): 7 pairs" in planning.text(found)
    gone = {"path": str(tmp_path / "no-such-model")}
    raw = made.model_dump()["stage"]["liked"] | {"judge": gone}
    with pytest.raises(ModelError, match="no-such-model"):
        planning.facts(recipe(tmp_path, {"liked": raw}), root=tmp_path / "none")
    with pytest.raises(DataError, match=r"no data at .*gone\.jsonl"):
        planning.facts(
            recipe(tmp_path, {"liked": stage(answers=str(tmp_path / "gone.jsonl"))}),
            root=tmp_path / "none",
        )


def test_what_a_stage_sees_and_what_its_result_depends_on(tmp_path):
    stages = {
        "asked": ASKED,
        "liked": stage(answers="stage:asked?n=3"),
        "helpful": {"kind": "reward_model", "train": "stage:liked?n=2"},
        "dev": {"kind": "dpo", "train": ["stage:liked", "stage:asked"]},
    }
    made = recipe(tmp_path, stages)
    root = Path("/runs/x")
    assert start.view(made, "liked", root).stage["liked"].answers == (
        "/runs/x/asked/eval/samples.jsonl?n=3"
    )
    helpful = start.view(made, "helpful", root).stage["helpful"]
    assert helpful.train == "/runs/x/liked/pairs.jsonl?n=2"
    assert start.view(made, "dev", root).stage["dev"].train == [
        "/runs/x/liked/pairs.jsonl", "/runs/x/asked/pairs.jsonl"
    ]  # fmt: skip
    # askings are paid for: what the answers were asked with is no matter of a file's
    own = {"liked": stage(answers="answers.jsonl")}
    plain = recipe(tmp_path, own)
    for more, same in (
        ({"data": {"train": "countdown", "system": ""}}, True),
        ({"model": {"path": "elsewhere"}}, True),
        ({"data": {"think_tag": "thought"}}, False),
        ({"seed": 1}, False),
    ):
        prints = [dag.graph(it)[0].fingerprint for it in (plain, recipe(tmp_path, own, **more))]
        assert (prints[0] == prints[1]) is same, more


@pytest.mark.parametrize(
    "stages, said",
    [
        ({"a": {"kind": "rl"}, "j": stage(answers="stage:a")},
         r"j\.answers = 'stage:a': kind rl; name a stage of kind sample"),
        ({"a": ASKED | {"samples": 1}, "j": stage(answers="stage:a")}, "samples=1: two answers"),
        ({"a": {"kind": "sample", "written": "d.jsonl"}, "j": stage(answers=["stage:a"])},
         "written, not sampled"),
        ({"a": ASKED, "j": stage(answers="stage:a"), "s": {"kind": "sft", "train": "stage:j"}},
         r"s refers to 'stage:j', which makes pairs.*kind dpo and reward_model"),
        ({"a": ASKED, "j": stage(answers="stage:a"),
          "d": {"kind": "dpo", "train": "p.jsonl", "start": "stage:j"}}, "which makes pairs"),
        ({"j": stage(answers="stage:b")}, r"refers to 'stage:b', which needs"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_or_learned_is_refused_before_anything_begins(
    tmp_path, stages, said
):
    with pytest.raises(ConfigError, match=said):
        dag.graph(recipe(tmp_path, stages))


@pytest.mark.parametrize(
    "own, said",
    [
        ({"judge": "v3"}, r"judge: a table here: url and model"),
        ({"judge": {}}, "either url and model, or path"),
        ({"length_bound": 0.5}, "1 is exact balance; write 1 or more, or 0"),
        ({"length_bound": float("nan")}, "1 or more, or 0"),
        ({"margin": 2}, "less than 2"),
        ({"rounds": 0}, "greater than or equal to 1"),
        ({"answers": []}, "name at least one source"),
        ({"model": {"path": "x"}}, "no model is trained or sampled here"),
        ({"data": {"train": "x"}}, r"data\.train has no effect here"),
        ({"per_questions": 3}, "did you mean 'per_question'"),
        ({"kind": "judged"}, '"judge" or "reward_model"'),
    ],
)
def test_a_recipe_that_cannot_be_says_why(tmp_path, own, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, {"j": stage(answers="a.jsonl") | own})
