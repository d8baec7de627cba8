"""Runs each measurement in a process of its own, so that none affects another's memory."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from envs import UserError


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a module's function in a new process, which ends after it, and return its result.

    Raises:
        UserError: the function raised it, or the process ended before the function returned.
    """
    context = get_context("spawn")
    answers, theirs = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        result = answers.recv()
    except EOFError:
        child.join()
        why = "killed, as for want of memory" if child.exitcode == -9 else "it says why above"
        raise UserError(f"a measurement's process ended with {child.exitcode}: {why}") from None
    finally:
        child.terminate()
        child.join()
    if isinstance(result, UserError):
        raise result
    return result


def answer(
    connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Call the function and send what it returns, or the UserError that it raises."""
    try:
        result = function(*arguments)
    except UserError as error:
        result = error
    connection.send(result)
