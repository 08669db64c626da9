"""A Lambda function on this machine: its `app.py` is loaded, its handler called with events."""

import importlib.util
import itertools
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

TIMEOUT: Final = 10.0
"""Seconds that a handler may take: `Timeout` of the template."""

GATEWAY_TIMEOUT: Final = 29.0
"""Seconds that API Gateway waits for a function."""

INSTANCES: Final = 8
"""Execution environments that a function has at most."""

_MEMORY: Final = 1024
_HANDLER: Final = "handler"
_serial: Final = itertools.count(1)
#: boto3 makes clients from a session that threads may not share, and modules make theirs while they are loaded.
_loading: Final = threading.Lock()


class FunctionFailedError(Exception):
    """The handler raised (its exception is the cause), took too long, or could not be loaded once more."""


class FunctionBusyError(Exception):
    """Calls before this one kept the function from being called in time."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who called through a mobile SDK: nobody."""

    cognito_identity_id: None = None
    cognito_identity_pool_id: None = None


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """What Lambda tells a handler about the call."""

    function_name: str
    aws_request_id: str
    deadline: float
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = str(_MEMORY)
    log_stream_name: str = "local"
    identity: Identity = field(default_factory=Identity)
    client_context: None = None

    @property
    def invoked_function_arn(self) -> str:
        """The function's name as AWS spells it in full."""
        return f"arn:aws:lambda:us-east-1:000000000000:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """Where the function would log."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the call is given up."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


type Handler = Callable[[dict[str, Any], LambdaContext], object]


class Function:
    """One Lambda function with as many execution environments as it has calls at once, up to a bound.

    Like Lambda's, an environment loads the module and runs the handler in one and the same thread, one call at a
    time: nothing in a module has to be safe for threads. A call that finds no free environment begins with a new
    one. At the bound it waits for one. A call that takes too long costs its environment its life.
    """

    def __init__(
        self,
        name: str,
        source: Path,
        *,
        timeout: float = TIMEOUT,
        patience: float = GATEWAY_TIMEOUT,
        instances: int = INSTANCES,
    ) -> None:
        """Load `source`, raising whatever its import raises. `timeout` and `patience` are in seconds."""
        self.name = name
        self._source = source
        self._timeout = timeout
        self._patience = patience
        self._turns = threading.BoundedSemaphore(instances)
        self._free = deque([_Environment(name, source)])

    def invoke(self, event: dict[str, Any], request_id: str | None = None) -> object:
        """Return what the handler returns for an event; raises `FunctionFailedError` or `FunctionBusyError`."""
        if not self._turns.acquire(timeout=self._patience):
            raise FunctionBusyError(f"{self.name} was busy for {self._patience:g} s")
        try:
            environment = self._environment()
            context = LambdaContext(
                self.name, request_id or str(uuid.uuid4()), time.monotonic() + self._timeout
            )
            answer = environment.call(event, context)
            try:
                error = answer.exception(self._timeout)
            except TimeoutError:
                environment.abandon()
                raise FunctionFailedError(f"{self.name} took more than {self._timeout:g} s") from None
            self._free.append(environment)
            if error is not None:
                raise FunctionFailedError(f"{self.name} raised {type(error).__name__}") from error
            return answer.result()
        finally:
            self._turns.release()

    def _environment(self) -> "_Environment":
        """Take the environment that was used last, as its connections are the freshest, or make a new one."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            return _Environment(self.name, self._source)
        except (Exception, SystemExit) as error:
            raise FunctionFailedError(f"{self.name} could not be loaded") from error


class _Environment:
    """A thread that loads a module and then answers calls until it is abandoned."""

    def __init__(self, name: str, source: Path) -> None:
        self._calls: SimpleQueue[tuple[dict[str, Any], LambdaContext, Future[object]] | None] = SimpleQueue()
        loaded: Future[None] = Future()
        # A daemon: a handler that hangs must not keep the program from ending.
        threading.Thread(target=self._run, args=(name, source, loaded), name=name, daemon=True).start()
        loaded.result()

    def call(self, event: dict[str, Any], context: LambdaContext) -> Future[object]:
        answer: Future[object] = Future()
        self._calls.put((event, context, answer))
        return answer

    def abandon(self) -> None:
        self._calls.put(None)

    def _run(self, name: str, source: Path, loaded: Future[None]) -> None:
        try:
            with _loading:
                handler = _load(name, source)
        except BaseException as error:  # noqa: BLE001 - it is raised where the function is made
            loaded.set_exception(error)
            return
        loaded.set_result(None)
        while (call := self._calls.get()) is not None:
            event, context, answer = call
            try:
                answer.set_result(handler(event, context))
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
                answer.set_exception(error)


def _load(name: str, source: Path) -> Handler:
    """Import `source` under a name of its own: every function's module is called app.

    Modules beside it are found, as Lambda finds them. All instances of the function share them: they must keep
    nothing.
    """
    folder = str(source.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module_name = f"_meterstone_function_{name}_{next(_serial)}"
    spec = importlib.util.spec_from_file_location(module_name, source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    handler: Handler = getattr(module, _HANDLER)
    return handler
