"""One bad input is a failure of its own; what every input would meet stops the run."""

from __future__ import annotations

import threading

import pytest
from verticlip.core.answer_each import answer_each
from verticlip.core.answers import Failure
from verticlip.core.errors import ConfigError, DependencyError, InputError, LimitError


def parse(text: str, position: int) -> int:
    if text == "gone":
        raise FileNotFoundError(2, "no such file", "/data/Doe^John")
    if not text.isdigit():
        raise InputError(f"item {position}: {text!r} is no number")
    return int(text)


def double(numbers: list[int]) -> list[int]:
    if 13 in numbers:
        raise InputError("13 is not answered")
    return [2 * number for number in numbers]


ITEMS = ["1", "x", "13", "4", "gone", "6", "7"]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("workers", [1, 4])
def test_answers_and_failures_come_in_order(batch_size: int, workers: int) -> None:
    found = list(answer_each(ITEMS, parse, double, batch_size=batch_size, workers=workers))
    assert found == [
        (1, 2),
        (None, Failure("x", "item 1: 'x' is no number")),
        (None, Failure("13", "13 is not answered")),
        (4, 8),
        (None, Failure("gone", "unexpected FileNotFoundError while reading")),
        (6, 12),
        (7, 14),
    ]


def test_one_row_may_fail_by_itself() -> None:
    calls: list[list[int]] = []

    def run(numbers: list[int]) -> list[int | InputError]:
        calls.append(numbers)
        return [InputError("odd") if number % 2 else number for number in numbers]

    found = [answer for _, answer in answer_each(["2", "3", "4"], parse, run, name=lambda _, at: f"no. {at}")]
    assert found == [2, Failure("no. 1", "odd"), 4]
    assert calls == [[2, 3, 4]]


@pytest.mark.parametrize(
    "error",
    [ConfigError("no such option"), DependencyError("not installed"), MemoryError(), ImportError("torch")],
)
def test_what_all_inputs_would_meet_stops_the_run(error: Exception) -> None:
    def prepare(item: str, position: int) -> int:
        raise error

    with pytest.raises(type(error)):
        list(answer_each(ITEMS, prepare, double))


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TypeError("a slip"), ConfigError("wrong")])
def test_only_errors_about_inputs_are_asked_again_one_by_one(error: Exception) -> None:
    calls: list[int] = []

    def run(numbers: list[int]) -> list[int]:
        calls.append(len(numbers))
        raise error

    with pytest.raises(type(error), match=str(error)):
        list(answer_each(["1", "2"], parse, run))
    assert calls == [2]


def test_a_limit_is_about_the_input() -> None:
    def run(numbers: list[int]) -> list[int]:
        if max(numbers) > 5:
            raise LimitError("too large")
        return numbers

    assert [answer for _, answer in answer_each(["1", "6"], parse, run)] == [1, Failure("6", "too large")]


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_something(batch_size: int) -> None:
    with pytest.raises(ConfigError, match=f"batch_size is at least 1, got {batch_size}"):
        answer_each(ITEMS, parse, double, batch_size=batch_size)


def test_run_stays_in_the_thread_that_asks_and_reading_does_not() -> None:
    read: set[int] = set()
    ran: set[int] = set()

    def prepare(item: str, position: int) -> int:
        read.add(threading.get_ident())
        return position

    def run(numbers: list[int]) -> list[int]:
        ran.add(threading.get_ident())
        return numbers

    assert len(list(answer_each(ITEMS, prepare, run, batch_size=2))) == len(ITEMS)
    assert ran == {threading.get_ident()}
    assert threading.get_ident() not in read


def test_large_inputs_are_run_alone_and_one_is_read_ahead() -> None:
    held = 0
    most = 0
    lock = threading.Lock()
    batches: list[list[int]] = []

    def prepare(item: int, position: int) -> int:
        nonlocal held, most
        with lock:
            held += item >= 10
            most = max(most, held)
        return item

    def run(numbers: list[int]) -> list[int]:
        nonlocal held
        batches.append(numbers)
        with lock:
            held -= sum(number >= 10 for number in numbers)
        return numbers

    items = [1, 2, 10, 11, 3, 12, 13, 14]
    found = answer_each(items, prepare, run, batch_size=4, alone=lambda item: item >= 10)
    assert [answer for _, answer in found] == items
    assert batches == [[1, 2], [10], [11], [3], [12], [13], [14]]
    assert most <= 2


def test_nobody_waits_for_what_is_not_wanted_any_more() -> None:
    read: list[int] = []

    def prepare(item: int, position: int) -> int:
        read.append(item)
        return item

    answers = answer_each(range(10_000), prepare, list, batch_size=2, workers=1)
    assert next(answers) == (0, 0)
    answers.close()
    assert len(read) < 20


def test_nothing_gives_nothing() -> None:
    assert list(answer_each([], parse, double)) == []
