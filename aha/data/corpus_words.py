"""The words of the base model's corpus, English and Chinese: phrasings for arithmetic, sentences
for plain text and talk. Data, no behaviour. Chinese uses few different characters, since each is a
token of a small vocabulary.
"""

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "question": (
            "How much is {}?", "Evaluate {}.", "Please compute {}.", "Solve {}.",
            "Tell me what {} is.", "Give the result of {}.",
        ),
        "who": ("Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Jack", "Rose"),
        "thing": ("apples", "books", "coins", "eggs", "cards", "stamps", "cups", "pens"),
        "signs": ("plus", "minus", "times"),
        "begin": ("Let me think. ", "First, ", "Let us see. ", "Step by step: ", "We compute: "),
        "then": ("Then ", "Next, ", "So ", "And "),
        "guess": ("Maybe {}.", "I guess {}.", "About {}.", "It looks like {}.", "Perhaps {}."),
        "about": ("{} is about {}.", "{} is near {}.", "Say {} is {}."),
        "try": ("Maybe {}?", "Perhaps {}?", "Is it {}?", "I guess {}?"),
        "check": ("Let me check.", "Let me check that.", "Check:", "To be sure, try again."),
        "wait": (
            "Wait, that is not right.", "Wait, let me check.", "Wait, I should check.",
            "No, let me try again.", "Wait.",
        ),
        "back": ("Check: {}, right.", "Indeed {}.", "{}, good.", "Let me check: {}, yes."),
        "agree": ("Yes, {} is right.", "So {} was right."),
        "differ": ("Wait, so {} was wrong.", "So it is not {}.", "Wait, that is not {}."),
        "yes": ("yes", "that works", "found it"),
        "no": ("no", "not it", "too far", "wrong"),
    },
    "zh": {
        "question": ("算一算 {}。", "请计算 {}。", "{} 得多少？", "{} 的结果是多少？", "求 {}。"),
        "who": ("小明", "小红", "小李", "小王"),
        "thing": ("个苹果", "本书", "张纸", "个鸡蛋", "支笔"),
        "signs": ("加", "减", "乘"),
        "begin": ("想一想。", "先算：", "一步一步来：", "我们来算：", "首先，"),
        "then": ("然后 ", "再算 ", "所以 ", "接着 "),
        "guess": ("可能是 {}。", "我猜是 {}。", "大约 {}。", "看起来是 {}。"),
        "about": ("{} 大约是 {}。", "{} 差不多是 {}。", "就算 {} 是 {}。"),
        "try": ("可能 {}？", "我猜 {}？", "是不是 {}？"),
        "check": ("检查一下。", "我再算一次。", "验算：", "让我看看对不对。"),
        "wait": ("等等，不对。", "等等，再算一次。", "不对，重新算。", "等等。"),
        "back": ("验算：{}，对。", "检查：{}，没错。", "{}，对了。"),
        "agree": ("对，就是 {}。", "所以 {} 是对的。"),
        "differ": ("等等，所以 {} 不对。", "所以不是 {}。", "等等，不是 {}。"),
        "yes": ("对了", "可以", "找到了"),
        "no": ("不行", "不对", "不是"),
    },
}  # fmt: skip
"""Sentences around the arithmetic; `{}` is where a number or an expression goes."""

FINALS = {
    "en": (
        "The answer is {}.", "The answer is {}.", "So the answer is {}.", "Answer: {}.", "{}",
        "It is {}.", "The result is {}.", "So it is {}.",
    ),
    "zh": ("答案是 {}。", "答案是 {}。", "所以答案是 {}。", "答案：{}。", "{}", "等于 {}。",
           "结果是 {}。"),
}  # fmt: skip

DRILLS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "worded": (
            "{a} {word} {b} is {result}.", "{a} {word} {b} equals {result}.",
            "What is {a} {sign} {b}? {result}", "{a} {sign} {b} is {result}.",
            "Q: {a} {sign} {b} = ? A: {result}", "Compute {a} {sign} {b}. It is {result}.",
            "User: {a} {sign} {b} = ? Assistant: {result}",
        ),
        "right": (
            "Is {claim}? Right.", "Is {claim}? Yes.", "Check {claim}: {back}, right.",
            "Is {claim}? Yes, {back}.",
        ),
        "wrong": (
            "Is {claim}? Wrong, it is {result}.", "Is {claim}? No, {result}.",
            "Check {claim}: wait, that is {result}.", "Is {claim}? No, it is {result}: {back}.",
        ),
    },
    "zh": {
        "worded": (
            "{a} {word} {b} 等于 {result}。", "{a} {sign} {b} 等于 {result}。",
            "{a} {sign} {b} 等于多少？{result}", "{a} {word} {b} 是 {result}。",
            "问：{a} {sign} {b} = ？答：{result}", "计算 {a} {sign} {b}。等于 {result}。",
        ),
        "right": ("请问 {claim}？对。", "请问 {claim} 对吗？对。", "检查 {claim}：{back}，对。"),
        "wrong": (
            "请问 {claim}？不对，是 {result}。", "请问 {claim} 对吗？不对，等于 {result}。",
            "检查 {claim}：等等，是 {result}。",
        ),
    },
}  # fmt: skip

STORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "++": (
            "{who} has {a} {thing}, buys {b} and then finds {c}. How many {thing} are there now?",
            "There are {a} {thing} in one box, {b} in another, {c} in the last. How many in all?",
        ),
        "+-": (
            "{who} has {a} {thing}, gets {b} more and gives away {c}. How many are left?",
            "A shop has {a} {thing}. It buys {b} and sells {c}. How many does it have now?",
        ),
        "-+": ("{who} had {a} {thing}, lost {b} and got {c} new ones. How many now?",),
        "--": ("{who} had {a} {thing}, lost {b} and sold {c}. How many are left?",),
        "*+": ("{who} has {a} bags with {b} {thing} each, and {c} more. How many in all?",),
        "*-": ("{who} has {a} bags with {b} {thing} each and gives away {c}. How many are left?",),
    },
    "zh": {
        "++": ("{who}有 {a} {thing}，又买了 {b}，再买了 {c}。一共有多少？",),
        "+-": ("{who}有 {a} {thing}，又买了 {b}，给了别人 {c}。还有多少？",),
        "-+": ("{who}有 {a} {thing}，给了别人 {b}，又买了 {c}。现在有多少？",),
        "--": ("{who}有 {a} {thing}，给了小红 {b}，给了小李 {c}。还有多少？",),
        "*+": ("{who}有 {a} 包，每包 {b} {thing}，又买了 {c}。一共有多少？",),
        "*-": ("{who}有 {a} 包，每包 {b} {thing}，给了别人 {c}。还有多少？",),
    },
}
"""By the signs of the steps from left to right."""

SENTENCES = {
    "en": (
        "The sun is warm and the sky is blue.",
        "{who} walks to the river with a dog.",
        "{who} and {other} read a book in the garden.",
        "It rained all day, so {who} stayed at home.",
        "In the morning {who} drinks tea and eats bread.",
        "The train to the city leaves at {n}.",
        "{who} has {n} {thing} and is happy.",
        "The shop on the corner sells {thing}.",
        "A small bird sat in the old tree and sang.",
        "At night the moon is bright over the sea.",
        "{who} asks a question and {other} gives the answer.",
        "A good answer begins with a clear question.",
        "When a problem is hard, take it apart and solve the parts.",
        "Check the result before you give the answer.",
        "{who} made a mistake, saw it, and tried again.",
        "We think first, and then we speak.",
    ),
    "zh": (
        "今天天气很好，太阳很大。",
        "{who}和{other}一起去学校。",
        "{who}在家里看书。",
        "下雨了，{who}没有出门。",
        "早上{who}喝水，吃面包。",
        "{who}有 {n} {thing}，很高兴。",
        "一只小鸟在树上唱歌。",
        "晚上的月亮很亮。",
        "{who}问了一个问题，{other}给出了答案。",
        "问题很难的时候，先分开，再一步一步算。",
        "给出答案以前，要检查一次。",
        "{who}算错了，看见了，又重新算。",
    ),
}

TEMPLATE = (
    "A conversation between User and Assistant.",
    "The user asks a question, and the Assistant solves it.",
    "The assistant first thinks about the reasoning process in the mind and then provides the user "
    "with the answer.",
)
"""Sentences of the R1-Zero template that name no tag."""

TEMPLATE_TAGS = (
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> "
    "tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here "
    "</answer>."
)
