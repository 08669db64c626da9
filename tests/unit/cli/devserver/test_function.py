"""A function's module is loaded and called as Lambda does it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from meterstone_cli.devserver.function import Function, FunctionBusyError, FunctionFailedError

type Make = Callable[..., Function]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(source: str, name: str = "fn", **options: Any) -> Function:
        path = tmp_path / name / "app.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
        return Function(name, path, **options)

    return make


def test_gives_what_the_handler_returns(make: Make) -> None:
    function = make("def handler(event, context): return {'got': event['x'], 'id': context.aws_request_id}")
    assert function.invoke({"x": 1}, "r-1") == {"got": 1, "id": "r-1"}


def test_context(make: Make) -> None:
    function = make("def handler(event, context): return context", timeout=5)
    context = function.invoke({})
    assert context.function_name == "fn"  # type: ignore[attr-defined]
    assert context.invoked_function_arn.endswith(":function:fn")  # type: ignore[attr-defined]
    assert context.log_group_name == "/aws/lambda/fn"  # type: ignore[attr-defined]
    assert 4_000 < context.get_remaining_time_in_millis() <= 5_000  # type: ignore[attr-defined]


def test_two_apps_do_not_meet(make: Make) -> None:
    one = make("NAME = 'one'\ndef handler(event, context): return NAME", "one")
    two = make("NAME = 'two'\ndef handler(event, context): return NAME", "two")
    assert [one.invoke({}), two.invoke({}), one.invoke({})] == ["one", "two", "one"]


def test_module_is_loaded_once_in_the_thread_that_calls_it(make: Make) -> None:
    function = make("""
        import threading
        LOADED_BY = threading.get_ident()
        calls = []
        def handler(event, context):
            calls.append(threading.get_ident() == LOADED_BY)
            return list(calls)
    """)
    assert function.invoke({}) == [True]
    assert function.invoke({}) == [True, True]


def test_an_environment_has_one_call_at_a_time(make: Make) -> None:
    function = make("""
        import time
        running = 0
        def handler(event, context):
            global running
            running += 1
            seen = running
            time.sleep(0.01)
            running -= 1
            return seen
    """)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: function.invoke({}), range(16))) == {1}


MEETING = """
    import threading
    NUMBER = threading.get_ident()
    def handler(event, context):
        if event["meet"] is not None:
            event["meet"].wait(5)
        return NUMBER
"""


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_calls_at_once_have_environments_of_their_own(make: Make, calls: int) -> None:
    function = make(MEETING, instances=4)
    event = {"meet": threading.Barrier(calls)}
    with ThreadPoolExecutor(calls) as pool:
        first = set(pool.map(lambda _: function.invoke(event), range(calls)))
        again = set(pool.map(lambda _: function.invoke(event), range(calls)))
    assert len(first) == calls
    assert again == first


def test_one_call_after_the_other_has_the_same_environment(make: Make) -> None:
    function = make(MEETING)
    assert len({function.invoke({"meet": None}) for _ in range(5)}) == 1


def test_a_slow_call_does_not_keep_others_waiting(make: Make) -> None:
    function = make("import time\ndef handler(event, context): time.sleep(event['sleep'])")
    slow = threading.Thread(target=function.invoke, args=({"sleep": 1},))
    slow.start()
    started = time.monotonic()
    for _ in range(5):
        function.invoke({"sleep": 0})
    assert time.monotonic() - started < 0.5
    slow.join()


def test_no_more_environments_than_the_bound(make: Make) -> None:
    function = make(MEETING, instances=2)
    with ThreadPoolExecutor(8) as pool:
        numbers = pool.map(lambda _: function.invoke({"meet": None}), range(64))
        assert len(set(numbers)) <= 2


def test_environments_are_loaded_one_at_a_time(make: Make) -> None:
    function = make(
        """
        import time
        time.sleep(0.05)
        def handler(event, context):
            event["meet"].wait(5)
        """,
        instances=4,
    )
    started = time.monotonic()
    event = {"meet": threading.Barrier(4)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: function.invoke(event), range(4)))
    assert time.monotonic() - started >= 3 * 0.05


def test_what_cannot_be_loaded_once_more_is_a_failure_of_that_call(make: Make) -> None:
    function = make("import time\ndef handler(event, context): time.sleep(event['sleep'])", timeout=0.2)
    with pytest.raises(ZeroDivisionError):
        make("1 / 0")
    with pytest.raises(FunctionFailedError, match="took more"):
        function.invoke({"sleep": 1})
    with pytest.raises(FunctionFailedError, match="fn could not be loaded"):
        function.invoke({"sleep": 0})


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("raise ValueError('no')", "ValueError"),
        ("raise TimeoutError", "TimeoutError"),
        ("import sys; sys.exit(1)", "SystemExit"),
    ],
)
def test_a_failure_is_told_and_forgotten(make: Make, statement: str, error: str) -> None:
    function = make(f"""
        def handler(event, context):
            if event:
                {statement}
            return "fine"
    """)
    with pytest.raises(FunctionFailedError, match=error):
        function.invoke({"fail": True})
    assert function.invoke({}) == "fine"


def test_a_call_that_takes_too_long_is_given_up_and_the_next_finds_a_new_environment(make: Make) -> None:
    function = make(
        """
        import time
        calls = 0
        def handler(event, context):
            global calls
            calls += 1
            time.sleep(event.get("sleep", 0))
            return calls
        """,
        timeout=0.2,
    )
    assert [function.invoke({}), function.invoke({})] == [1, 2]
    with pytest.raises(FunctionFailedError, match=r"more than 0\.2 s"):
        function.invoke({"sleep": 1})
    assert function.invoke({}) == 1


def test_who_waits_too_long_is_told(make: Make) -> None:
    function = make("import time\ndef handler(event, context): time.sleep(0.5)", patience=0.1, instances=1)
    first = threading.Thread(target=function.invoke, args=({},))
    first.start()
    time.sleep(0.1)
    with pytest.raises(FunctionBusyError):
        function.invoke({})
    first.join()


@pytest.mark.parametrize(
    ("source", "error"),
    [("import no_such_module_anywhere", ImportError), ("1 / 0", ZeroDivisionError), ("", AttributeError)],
)
def test_what_cannot_be_loaded_is_told_at_once(make: Make, source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        make(source)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Function("fn", tmp_path / "app.py")
