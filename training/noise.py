"""The user's hand: openings, contractions, slips on words that carry no meaning, case and final marks.

Content words are never touched: a question must stay answerable. Knows nothing of answers.
"""

from __future__ import annotations

import re
from random import Random

ENGLISH_OPENINGS = (
    "please ", "hey, ", "hi, ", "cria, ", "ok, ", "so ", "um, ", "sorry, ", "hello, ", "hey cria, ", "quick question: ",
    "one question: ", "well, ", "excuse me, ", "and ", "ok so ", "just wondering, ",
)  # fmt: skip
CHINESE_OPENINGS = (
    "请问", "你好，", "嗨，", "那个，", "cria，", "麻烦问一下，", "想问一下，", "请问一下，", "嗯，", "那",
    "你好，请问", "问一下，", "不好意思，", "好的，",
)  # fmt: skip
SHORTER = {
    "what is": ("what's", "whats"), "who is": ("who's", "whos"), "how is": ("how's", "hows"), "where is": ("where's",),
    "I am": ("I'm", "im", "i am"), "you are": ("you're", "youre"), "it is": ("it's", "its"), "that is": ("that's",),
    "do not": ("don't", "dont"), "does not": ("doesn't",), "cannot": ("can't", "cant", "can not"),
    "did not": ("didn't",), "I would": ("I'd",), "I have": ("I've",), "want to": ("wanna",), "going to": ("gonna",),
    "let us": ("let's", "lets"), "what's": ("what is", "whats"), "don't": ("do not", "dont"),
}  # fmt: skip
CHAT_SPELLING = {"you": "u", "are": "r", "please": "pls", "your": "ur", "thanks": "thx", "to": "2", "I": "i"}
SAFE_TO_SLIP = frozenset((
    "what", "how", "which", "can", "could", "would", "should", "you", "your", "the", "does", "this", "that", "please",
    "tell", "about", "want", "with", "command", "there", "for",
))  # fmt: skip
MAY_BE_LEFT_OUT = frozenset(("the", "a", "an", "my", "do", "does", "of"))  # as in "how start server"
_ASKS = re.compile(
    r"^(what|who|which|how|where|when|why|can|could|may|do|does|did|is|are|will|would|should|shall|am|have|has|was"
    r"|were|whose)\b",
    re.IGNORECASE,
)
_ASKS_ZH = re.compile(
    "吗|什么|怎|谁|哪|几|多少|如何|呢|么|啥|能不能|会不会|可不可以|有没有|多大|能否|为何|是不是|行不行|好不好|在不在"
)
HAN = re.compile(r"[\u4e00-\u9fff]")
_DIGIT = re.compile("[0-9]")
_BLANK_BY_HAN = re.compile(r"(?<=[\u4e00-\u9fff]) | (?=[\u4e00-\u9fff])")
# Traditional forms of characters that questions hold often.
TRADITIONAL = str.maketrans(
    "会说吗么谁们个这叫认识见谢对话问请帮讲汉语运行启动务设置模型显示列载显记录关闭开让学习数几岁机电脑内存长数线网址变里写读听东车书爱谈开发",
    "會說嗎麼誰們個這叫認識見謝對話問請幫講漢語運行啟動務設置模型顯示列載顯記錄關閉開讓學習數幾歲機電腦內存長數線網址變裡寫讀聽東車書愛談開發",
)


def untidy(rng: Random, text: str, language: str, *, exact: bool = False) -> str:
    """The text as somebody might type it. `exact`: it holds a name or a made-up word whose letters and case matter."""
    return _english(rng, text, exact) if language == "en" else _chinese(rng, text, exact)


def _english(rng: Random, text: str, exact: bool) -> str:
    asks = bool(_ASKS.match(text))
    text = _replace(rng, text, exact)
    if rng.random() < 0.16:
        text = rng.choice(ENGLISH_OPENINGS) + text
    chance = rng.random()
    if chance < 0.45:
        text = text[0].upper() + text[1:]
    elif chance < 0.52 and not exact:
        text = text.lower()
    elif chance < 0.54 and not exact:
        text = text.upper()
    if asks:
        return text + rng.choice(("?", "?", "?", "", "", " ?", ".", "??"))
    return text + rng.choice(("", "", "", ".", ".", "!", "?"))


def _replace(rng: Random, text: str, exact: bool) -> str:
    """Contractions, telegraph style, chat spelling, and one slip of the hand on a word that can be missed."""
    for long, short in SHORTER.items():
        if long in text and rng.random() < 0.25:
            text = text.replace(long, rng.choice(short), 1)
    words = text.split(" ")
    if not exact and len(words) > 3 and rng.random() < 0.12:
        words = [word for word in words if word not in MAY_BE_LEFT_OUT or rng.random() < 0.4]
    if rng.random() < 0.05 and not _DIGIT.search(text):  # "2" may be the number
        words = [CHAT_SPELLING.get(word, word) for word in words]
    if not exact and rng.random() < 0.1:
        places = [i for i, word in enumerate(words) if word.lower() in SAFE_TO_SLIP and len(word) > 2]
        if places:
            i = rng.choice(places)
            words[i] = slip(rng, words[i])
    return " ".join(words)


def slip(rng: Random, word: str) -> str:
    """One letter lost, doubled or swapped with the next."""
    i = rng.randrange(len(word) - 1)
    return word[:i] + rng.choice((word[i + 1 :], word[i] * 2 + word[i + 1 :], word[i + 1] + word[i] + word[i + 2 :]))


def _chinese(rng: Random, text: str, exact: bool) -> str:
    asks = bool(_ASKS_ZH.search(text))
    if rng.random() < 0.14:
        text = rng.choice(CHINESE_OPENINGS) + text
    if "你" in text and rng.random() < 0.05:
        text = text.replace("你", "您", 1)
    if rng.random() < 0.1:
        text = _BLANK_BY_HAN.sub("", text)
    if not exact and rng.random() < 0.04:
        text = text.translate(TRADITIONAL)
    if rng.random() < 0.05 and asks and text.endswith("吗"):
        text = text[:-1] + rng.choice(("嘛", "么", "不"))
    if not HAN.search(text):  # a bare name: the mark alone says that the question is Chinese
        return text + rng.choice(("？", "？", "呢？", "呢", "。"))
    if asks:
        return text + rng.choice(("？", "？", "？", "", "", "?", "。"))
    return text + rng.choice(("", "", "", "。", "。", "！", "？"))
