"""What a process does when Lambda has restored it from a snapshot of its memory (SnapStart).

A snapshot is taken once, after a function was imported, and many processes begin as copies of it, hours or weeks
later. So nothing may be unique or timed that is made at import: clocks are read for each request, random numbers
come from the operating system. What is left is renewed here: connections that the service has closed meanwhile,
and the state of `random`, from which botocore takes the length of its pauses. Without that all copies would pause
for equally long.
"""

import random
from collections.abc import Callable


def after_restore(renew: Callable[[], object]) -> None:
    """Have ``renew`` called whenever Lambda restores this process. Elsewhere there is nothing to restore."""
    try:
        # The Lambda runtime has it; no other environment does.
        from snapshot_restore_py import register_after_restore  # type: ignore[import-untyped] # noqa: PLC0415
    except ImportError:
        return
    register_after_restore(random.seed)
    register_after_restore(renew)
