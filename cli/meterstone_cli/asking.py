"""Asking a person before what cannot be undone. Who reads no answer, such as a script, is not asked."""

import sys

import typer


def at_terminal() -> bool:
    """Return whether somebody can read a question, and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether to do it, unless `yes` was said or nobody is there. Raises `typer.Abort` if the answer is no."""
    if not yes and at_terminal():
        typer.confirm(what, abort=True, err=True)
