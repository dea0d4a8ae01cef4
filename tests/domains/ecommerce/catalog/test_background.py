import threading
import time
from collections.abc import Iterator

import pytest
from verticlip.domains.ecommerce.catalog.background import in_background


def alive() -> bool:
    return any(thread.name == "verticlip-rows" for thread in threading.enumerate())


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize(("chunk", "ahead"), [(1, 1), (4, 2), (1000, 1)])
def test_the_same_items_in_the_same_order(count, chunk, ahead) -> None:
    with in_background(range(count), chunk=chunk, ahead=ahead) as items:
        assert list(items) == list(range(count))
    assert not alive()


def test_they_are_made_by_another_thread_and_not_far_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[str]:
        for number in range(100):
            made.append(number)
            yield threading.current_thread().name

    with in_background(items(), chunk=2, ahead=3) as names:
        assert next(names) == "verticlip-rows"
        time.sleep(0.05)
        assert len(made) <= 2 + 3 * 2 + 2
        assert set(names) == {"verticlip-rows"}


def test_trouble_comes_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("row 6 is broken")

    seen = []
    with pytest.raises(ValueError, match="row 6"), in_background(items(), chunk=2, ahead=1) as found:
        for one in found:
            seen.append(one)
    assert seen == list(range(5))
    assert not alive()


def test_who_stops_early_leaves_no_thread_behind() -> None:
    def forever() -> Iterator[int]:
        number = 0
        while True:
            yield (number := number + 1)

    with in_background(forever(), chunk=4, ahead=1) as items:
        assert next(items) == 1
    assert not alive()
    with pytest.raises(KeyboardInterrupt), in_background(forever(), chunk=4, ahead=1):
        raise KeyboardInterrupt
    assert not alive()
