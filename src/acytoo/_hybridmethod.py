"""Methods that can be called on a class as well as on an instance of it.

The contract wants `Acytoo.create_async_generator(…)` and `Acytoo().create_async_generator(…)` to work alike.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")


class hybridmethod(Generic[S, P, R]):
    """A method that, called on the class itself, uses an instance created without arguments."""

    def __init__(self, function: Callable[Concatenate[S, P], R]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self._on_class = _on_new_instance(function)

    @overload
    def __get__(self, instance: None, owner: type[S]) -> Callable[P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type[S]) -> Callable[P, R]: ...
    def __get__(self, instance: S | None, owner: type[S]) -> Callable[P, R]:
        if instance is None:
            return MethodType(self._on_class, owner)
        return MethodType(self.function, instance)


def _on_new_instance(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for calls on the class.

    Only a call creates the instance, so that `inspect` and documentation tools can read the methods of a class that
    cannot be created without arguments.
    """

    @functools.wraps(function)
    def call(owner: type[Any], /, *args: Any, **kwargs: Any) -> Any:
        return function(owner(), *args, **kwargs)

    @functools.wraps(function)
    async def call_async(owner: type[Any], /, *args: Any, **kwargs: Any) -> Any:
        return await function(owner(), *args, **kwargs)

    return call_async if inspect.iscoroutinefunction(function) else call
