"""A plugin for mypy, which leaves the type of a decorated class as it was, so that `Counter.remote` is unknown to it.

    [tool.mypy]
    plugins = ["manta.util.mypy_plugin"]

With it, a class under `@manta.remote` has `remote(...)`, checked against its constructor, and `options(...)`. Pyright needs
nothing of the kind, and neither does `Counter = manta.remote(CounterClass)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy.nodes import ARG_STAR, ARG_STAR2, MDEF, FuncDef, SymbolTableNode, TypeInfo, Var
from mypy.plugin import ClassDefContext, Plugin
from mypy.typeops import function_type
from mypy.types import AnyType, CallableType, Instance, Parameters, Type, TypeOfAny

_DECORATOR: Final = "manta.api.decorator.remote"
_HANDLE: Final = "manta.client.handles.ActorHandle"
_OPTIONED: Final = "manta.api.actor_classes.OptionedActorClass"


class ActorClasses(Plugin):
    """Gives decorated classes what `manta.api.actor_classes.ActorClass` has."""

    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        """Mypy's hook, called for each decorator of a class."""
        return _decorated if fullname == _DECORATOR else None


def plugin(version: str) -> type[Plugin]:
    """Mypy's entry point."""
    return ActorClasses


def _decorated(context: ClassDefContext) -> bool:
    """Add the names; False asks mypy to come again when more is known."""
    info = context.cls.info
    found = [context.api.lookup_fully_qualified_or_none(name) for name in (_HANDLE, _OPTIONED)]
    handle, optioned = (symbol.node if symbol is not None else None for symbol in found)
    if not isinstance(handle, TypeInfo) or not isinstance(optioned, TypeInfo):
        return False
    itself = Instance(info, [])
    function = context.api.named_type("builtins.function")
    parameters = _constructor(info, function, others=len(context.cls.decorators) > 1)
    anything = Parameters([AnyType(TypeOfAny.explicit)] * 2, [ARG_STAR, ARG_STAR2], [None, None])
    for name, takes, gives in (
        ("remote", parameters, Instance(handle, [itself])),
        ("_remote", anything, Instance(handle, [itself])),
        ("options", anything, Instance(optioned, [_callable(parameters, itself, function)])),
    ):
        _add(info, name, _callable(takes, gives, function))
    return True


def _constructor(info: TypeInfo, function: Instance, *, others: bool) -> Parameters:
    """What instances are made of. A constructor without annotations has its names all the same.

    With other decorators, `@dataclass` say, the constructor may be yet to come: then anything goes.
    """
    symbol = info.get("__init__")
    node = symbol.node if symbol is not None else None
    signature = function_type(node, function) if isinstance(node, FuncDef) else None
    inherits = isinstance(node, FuncDef) and node.info.fullname == "builtins.object"
    if not isinstance(signature, CallableType) or (inherits and (others or "__new__" in info.names)):
        return Parameters([AnyType(TypeOfAny.special_form)] * 2, [ARG_STAR, ARG_STAR2], [None, None])
    return Parameters(signature.arg_types[1:], signature.arg_kinds[1:], signature.arg_names[1:])


def _callable(takes: Parameters, gives: Instance, function: Instance) -> CallableType:
    return CallableType(takes.arg_types, takes.arg_kinds, takes.arg_names, gives, function)


def _add(info: TypeInfo, name: str, of: Type) -> None:
    variable = Var(name, of)
    variable.info = info
    variable._fullname = f"{info.fullname}.{name}"
    variable.is_staticmethod = True
    variable.is_initialized_in_class = True
    info.names[name] = SymbolTableNode(MDEF, variable, plugin_generated=True)
