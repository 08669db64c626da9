"""How a function starts: Python does not look for garbage until its module is loaded.

Nearly all that imports make stays: classes, functions, and the service's model. Looking through it again and again
takes a tenth of a cold start. So a function imports this module first, which pauses the collector, and its last
line ends the pause. What is there by then is left out of all collections, which also makes requests quicker.

It also imports urllib3 before any other module does. Python keeps the frames of running functions in pieces of
16 KB. A call that does not fit begins another piece, and its return gives that piece back to the system. Imports
deep within imports reach the end of a piece. There urllib3 would compile its regular expressions, each of whose
many calls would begin a piece anew: 5,000 page faults, a tenth of a cold start. Imported from here, it does not.

Outside Lambda nothing is paused: a process that loads several functions, or tests them, has a life before that.
"""

import gc
import os
from typing import Final

#: Lambda sets it for its runtime.
_IN_LAMBDA: Final = "AWS_LAMBDA_RUNTIME_API" in os.environ

if _IN_LAMBDA:
    gc.disable()
    import urllib3  # noqa: F401 - botocore needs it


def loaded() -> None:
    """End the pause."""
    if _IN_LAMBDA:
        gc.freeze()
        gc.enable()
