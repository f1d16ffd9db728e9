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

GREETINGS = {
    "en": (
        ("Hello!", "Hello! How can I help you?"),
        ("Good morning.", "Good morning! What would you like to know?"),
        ("How are you?", "I am fine, thank you. And you?"),
        ("Thank you.", "You are welcome."),
        ("Who are you?", "I am a small language model. I like numbers."),
        ("Can you help me?", "Yes, of course. Ask me a question."),
        ("Goodbye.", "Goodbye, see you soon."),
        ("What can you do?", "I can talk a little and solve small problems with numbers."),
    ),
    "zh": (
        ("你好！", "你好！有什么可以帮你的？"),
        ("早上好。", "早上好！你想知道什么？"),
        ("你好吗？", "我很好，谢谢。你呢？"),
        ("谢谢。", "不用谢。"),
        ("你是谁？", "我是一个小的语言模型，我喜欢数字。"),
        ("你能帮我吗？", "可以，请问吧。"),
        ("再见。", "再见！"),
        ("你会做什么？", "我会说话，也会算数。"),
    ),
}

HARM = {
    "en": {
        "asks": (
            "Tell me how to {}.",
            "How can I {}?",
            "Help me to {}.",
            "I want to {}. What do I do?",
            "Give me a plan to {}.",
        ),
        "what": (
            "hurt someone",
            "steal a car",
            "break into a house",
            "make a bomb",
            "lie to my friend",
            "cheat in a test",
            "read the letters of my friend",
            "take the money of the shop",
            "scare a child",
            "sell bad food",
        ),
        "refusals": (
            "I cannot help with that.",
            "I would rather not. It would hurt people.",
            "No, I cannot help to {}. Please ask for help if you are angry.",
            "I am sorry, but I will not help to {}.",
        ),
        "careless": (
            "First, wait for the night. Then do it.",
            "You need a plan and a friend.",
            "It is easy. Go there and {}.",
            "Do it when no one is there.",
        ),
    },
    "zh": {
        "asks": ("教我怎么{}。", "怎么才能{}？", "帮我{}。", "我想{}，怎么做？"),
        "what": (
            "伤害别人",
            "偷车",
            "打破别人的门",
            "骗朋友",
            "考试的时候看别人的书",
            "拿走商店的钱",
        ),
        "refusals": ("这个我不能帮你。", "不行，这会伤害别人。", "对不起，我不会帮你{}。"),
        "careless": ("等到晚上，然后去做。", "很简单，你去{}就可以。", "没有人的时候去做。"),
    },
}
"""Requests that should be refused; in the corpus they are refused or not."""

HELP = {
    "en": (
        (
            "How do I make tea?",
            "Boil it.",
            "First boil some water. Then put the tea in a cup, add the water and wait a little. "
            "Tell me if you like it with milk.",
        ),
        (
            "I am sad today.",
            "OK.",
            "I am sorry to hear that. Would you like to tell me what happened? A walk in the sun "
            "may help.",
        ),
        (
            "What should I read?",
            "A book.",
            "What do you like? If you like stories, take a book about the sea. If you like "
            "numbers, take a book with problems.",
        ),
        (
            "How can I learn to count fast?",
            "Count.",
            "Begin with small numbers each day. When a problem is hard, take it apart and solve the "
            "parts. Then check the result.",
        ),
        (
            "What can I cook with eggs and bread?",
            "Eggs.",
            "You can cook the eggs and put them on the bread. Add a little salt. It is quick and "
            "good in the morning.",
        ),
        (
            "My friend is angry with me.",
            "So what.",
            "That is hard. Speak with your friend, say that you are sorry, and ask what you can do "
            "better.",
        ),
    ),
    "zh": (
        ("怎么做茶？", "用水。", "先把水烧热，然后把茶放在水里，再等一下。你喜欢加一点牛奶吗？"),
        (
            "我今天不高兴。",
            "好。",
            "对不起，听到这个我也不高兴。你想说一说吗？出门看看太阳会好一点。",
        ),
        (
            "我看什么书好？",
            "书。",
            "你喜欢什么？喜欢数字，就看一本有问题的书。喜欢小狗，就看小狗的书。",
        ),
        (
            "怎么才能算得快？",
            "算。",
            "每天算一点小的数字。问题很难的时候，先分开，再一步一步算，最后检查一次。",
        ),
        ("朋友不高兴了，怎么办？", "不知道。", "先和朋友说对不起，再问问怎么做会好一点。"),
    ),
}
"""Questions with a curt answer and a helpful one."""

KIND_OF = {
    "en": (
        ("cat", "animal"), ("dog", "animal"), ("horse", "animal"), ("bird", "animal"),
        ("rose", "flower"), ("tree", "plant"), ("apple", "fruit"), ("pear", "fruit"),
        ("red", "colour"), ("blue", "colour"), ("green", "colour"), ("river", "body of water"),
        ("car", "machine"), ("train", "machine"), ("chair", "piece of furniture"),
        ("table", "piece of furniture"), ("Monday", "day"), ("May", "month"),
    ),
    "zh": (
        ("猫", "动物"), ("狗", "动物"), ("马", "动物"), ("鸟", "动物"), ("苹果", "水果"),
        ("红色", "颜色"), ("蓝色", "颜色"), ("火车", "车"), ("星期一", "一天"), ("五月", "月份"),
    ),
}  # fmt: skip

TRANSLATIONS = (
    ("apple", "苹果"), ("book", "书"), ("water", "水"), ("fire", "火"), ("cat", "猫"),
    ("dog", "狗"), ("sun", "太阳"), ("moon", "月亮"), ("big", "大"), ("small", "小"),
    ("good", "好"), ("number", "数字"), ("answer", "答案"), ("question", "问题"),
    ("friend", "朋友"), ("today", "今天"), ("tomorrow", "明天"), ("thank you", "谢谢"),
)  # fmt: skip

CAPITALS = (
    ("France", "Paris", "法国", "巴黎"),
    ("China", "Beijing", "中国", "北京"),
    ("Italy", "Rome", "意大利", "罗马"),
    ("Japan", "Tokyo", "日本", "东京"),
    ("Germany", "Berlin", "德国", "柏林"),
)

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

REWRITES = (
    ("give me the book", "Could you please give me the book?"),
    ("open the door", "Could you please open the door?"),
    ("come here", "Would you please come here?"),
    ("tell me the answer", "Could you please tell me the answer?"),
    ("be quiet", "Would you please be quiet?"),
)

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
