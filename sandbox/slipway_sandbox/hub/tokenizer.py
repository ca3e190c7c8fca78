"""A byte-level BPE tokenizer for the small models, trained on the spot on the text below."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 768
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Everyday English of our own: enough repeated words that merges follow frequency rather than chance.
_TEXT = """
A ship that has been built stands on a slope of greased timber, and the slope leads down to the water. When the
last prop is knocked away the ship begins to move, slowly at first, then faster, until it floats. Nothing can stop
it once it moves, so everything is checked before: the cradle, the chains that will hold it, the depth of the water,
the tide, the wind, and the people standing too close. The people who build ships learned long ago that a launch is
not one act but a row of small ones, each of which can be looked at before the next is begun. Whoever is in charge
walks along the whole length and asks the same questions in the same order. Is the way clear? Is the weight known?
Who gives the word? What happens when it is not given in time? The answers are written down, because memory is kind
to the person who remembers. After the launch the ship is towed to the quay, where the engines are tried, first
without load and then with it. A ship that has been tried is worth more than one that has not, even if both are the
same in every other way. In the evening the tools are counted and put back where they belong. What was borrowed is
returned, what was opened is closed, what was lit is put out, and the gate is locked. The next morning the slope is
empty again, and the keel of another ship is laid on it. There were days when the water was too low and days when
the wind was too strong, and on those days nobody was ashamed to wait. A model of a language works with pieces of
words, and it learned them from texts such as this one. It does not know what a ship is, but it has seen that after
the word ship there is often a verb, and that water is near. You can ask it a question and it will answer with the
most likely words, one after the other, until it is done or until it is told to stop. The answer should come soon,
and the following words should come at an even pace, so that a person who reads them does not have to wait. Machines
that do this are expensive, and they should not stand idle. When nobody asks they should be given back, and when
somebody asks again they should be there quickly. That is all. The rest is care, patience, order and a good list.
Numbers are words as well: 0 1 2 3 4 5 6 7 8 9 10 12 16 20 24 32 48 64 100 128 200 256 404 429 500 503 512 1000 1024
2048 4096. So are names of things: table, chair, window, door, house, street, city, river, mountain, sea, sky, star,
light, night, day, week, month, year, hour, minute, second, hand, head, heart, voice, book, page, line, letter.
"""


def make() -> str:
    """tokenizer.json, the same bytes each time for one version of the tokenizers library."""
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    document = json.loads(tokenizer.to_str())
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def config(max_length: int) -> dict[str, Any]:
    """tokenizer_config.json; `max_length` in tokens."""
    added = {
        str(number): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for number, token in enumerate(SPECIAL)
    }
    return {
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL[3:],
        "bos_token": "<s>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "model_max_length": max_length,
        "pad_token": "<pad>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
