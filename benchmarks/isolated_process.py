"""Runs each measurement in a separate process, so that none affects the memory of another."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from envs import UserError


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function in a new process and returns its result.

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
        killed = child.exitcode == -9
        why = "killed, probably for lack of memory" if killed else "see its error above"
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
    """Calls the function and sends its result, or the UserError that it raises."""
    try:
        result = function(*arguments)
    except UserError as error:
        result = error
    connection.send(result)
