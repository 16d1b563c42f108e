"""answers: how many large ones may be under way."""

from __future__ import annotations

from visavis_server.sockets.answers import COUNT_LIMIT, SIZE_LIMIT, SOURCE_LIMIT, LargeAnswers


def test_one_address_leaves_room_for_others() -> None:
    answers = LargeAnswers(1.0)
    assert [answers.admit("a", 1) for _ in range(SOURCE_LIMIT + 1)] == [True] * SOURCE_LIMIT + [False]
    assert answers.admit("b", 1)
    answers.release("a", 1)
    assert answers.admit("a", 1)


def test_all_together_have_a_bound_in_number_and_size() -> None:
    answers = LargeAnswers(1.0)
    assert [answers.admit("", 1) for _ in range(COUNT_LIMIT + 1)] == [True] * COUNT_LIMIT + [False]
    for _ in range(COUNT_LIMIT):
        answers.release("", 1)
    assert answers.admit("", 2 * SIZE_LIMIT), "an answer that is larger than all may be is given alone"
    assert not answers.admit("a", 1)
    answers.release("", 2 * SIZE_LIMIT)
    assert repr(vars(answers)).count("Counter()") == 1
