"""How a function starts: Python does not look for garbage until its module is loaded.

Nearly all that imports make stays: classes, functions, and the service's model. Looking through it again and again
takes a tenth of a cold start. So a function imports this module first, which pauses the collector, and its last
line ends the pause. What is there by then is left out of all collections, which also makes requests quicker.

Outside Lambda nothing is paused: a process that loads several functions, or tests them, has a life before that.
"""

import gc
import os
from typing import Final

#: Lambda sets it for its runtime.
_IN_LAMBDA: Final = "AWS_LAMBDA_RUNTIME_API" in os.environ

if _IN_LAMBDA:
    gc.disable()


def loaded() -> None:
    """End the pause."""
    if _IN_LAMBDA:
        gc.freeze()
        gc.enable()
