from __future__ import annotations

from tasks.validation.load.prompts import TEXT_WORDS, Prompts


def test_a_prompt_has_the_words_asked_for() -> None:
    prompts = Prompts(1, 4000)
    for index in (0, 1, 77, TEXT_WORDS - 1):
        for words in (1, 40, 4000):
            text = prompts.text(words, index)
            assert len(text.split()) == words
            assert text == text.strip()


def test_the_same_seed_asks_the_same_and_another_does_not() -> None:
    assert Prompts(1, 40).text(40, 3) == Prompts(1, 40).text(40, 3)
    assert Prompts(1, 40).text(40, 3) != Prompts(2, 40).text(40, 3)


def test_prompts_share_no_long_beginning() -> None:
    """A prefix cache works in blocks of 16 tokens: no two prompts may share their first one."""
    prompts = Prompts(1, 64)
    assert len({prompts.text(16, index) for index in range(20_000)}) == 20_000
