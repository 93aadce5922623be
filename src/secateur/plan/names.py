"""Which groups a name means: that of a group, of a layer, or a pattern. Loads no torch."""

from __future__ import annotations

from fnmatch import fnmatchcase

from secateur.channels.cost import owner_module
from secateur.channels.groups import ChannelMap
from secateur.errors import BudgetError, unknown_name

Meaning = dict[str, set[str]]
"""Groups by the name of a layer."""


class Names:
    """The names of groups, and of layers by what they have to do with them.

    A layer `gives` the groups that its filters are in. One that gives none `reads` those that its
    weight takes channels in from. Any other module with parameters of a group, such as a batch
    norm, is `beside` it. A parameter that is used under several names is known by all of them.
    """

    def __init__(self, channels: ChannelMap) -> None:
        self.groups = list(channels.by_name)
        self.gives: Meaning = {layer.name: set() for layer in channels.layers}
        self.reads: Meaning = {}
        self.beside: Meaning = {}
        meanings = {"out": self.gives, "in": self.reads}
        layer_of = {layer.weight: layer.name for layer in channels.layers}
        others: dict[str, list[str]] = {}
        for other, first in channels.aliases.items():
            others.setdefault(first, []).append(other)
        for group in channels.groups:
            self.gives.setdefault(group.name, set()).add(group.name)
            for member in group.members:
                parameter = member.parameter
                names = {layer_of.get(parameter, parameter)}
                names |= {owner_module(p) for p in (parameter, *others.get(parameter, ()))}
                meaning = meanings.get(member.role, self.beside)
                for name in names:
                    meaning.setdefault(name, set()).add(group.name)

    def given(self, pattern: str) -> tuple[str, ...]:
        """Groups that a name or pattern means by itself, or by the layers whose filters they hold.

        Raises:
            BudgetError: no group and no layer has such a name.
        """
        return tuple(self._matching(pattern, with_readers=False))

    def concerned(self, pattern: str) -> dict[str, str]:
        """What leaving a name or pattern alone leaves whole: groups, and why if it is not plain.

        Besides those given these are, of a layer that gives none, the groups that it reads; and
        where there are none of these, the groups beside which a module of the name is.

        Raises:
            BudgetError: no group and no layer has such a name.
        """
        return self._matching(pattern, with_readers=True)

    def _matching(self, pattern: str, *, with_readers: bool) -> dict[str, str]:
        if pattern in self.groups:
            return {pattern: ""}
        known = [name for name in self._all() if name == pattern or _fits(name, pattern)]
        if not known:
            raise BudgetError(self.unknown(pattern))
        why: dict[str, str] = {}
        for name in known:
            why |= dict.fromkeys(self.gives.get(name, ()), "")
        if with_readers:
            for name in known:
                if not self.gives.get(name):
                    for group in self.reads.get(name, ()):
                        why.setdefault(group, f"{name!r} reads it")
        if not why:
            for name in known:
                why |= dict.fromkeys(self.beside.get(name, ()), f"{name!r} is part of it")
        return {name: why[name] for name in self.groups if name in why}

    def unknown(self, name: str) -> str:
        """Say that a name is no group's: of a layer, in which groups it is; else what there is."""
        if groups := self._listed(self.gives.get(name)) or self._listed(self.beside.get(name)):
            return f"no channel group {name!r}; the channels of {name!r} are in {groups}: name that"
        if groups := self._listed(self.reads.get(name)):
            return (
                f"no channel group {name!r}; no channels that {name!r} gives can go, and it reads "
                f"{groups}: name that"
            )
        within = any(one.startswith(f"{name}.") for one in self._all())
        hint = f"; write '{name}.*' for all that is in it" if within else ""
        return unknown_name("channel group", name, self.groups) + hint

    def _all(self) -> dict[str, None]:
        return dict.fromkeys((*self.gives, *self.reads, *self.beside))

    def _listed(self, groups: set[str] | None) -> str:
        names = [name for name in self.groups if name in (groups or ())]
        return ("group " if len(names) == 1 else "groups ") * bool(names) + ", ".join(
            map(repr, names)
        )


def _fits(name: str, pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[") and fnmatchcase(name, pattern)
