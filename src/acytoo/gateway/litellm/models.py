"""The models of a LiteLLM config file: its groups of deployments, with fallbacks and aliases."""

from __future__ import annotations

from typing import Any

from acytoo.gateway.litellm.deployments import Deployment, Deployments
from acytoo.gateway.litellm.document import Document, as_dict, as_name, is_name, take

_ALL = "*"
"""The group whose fallbacks are those of all groups that have none of their own."""


class Models:
    """Our tables of models."""

    def __init__(self, document: Document, deployments: Deployments) -> None:
        self._document = document
        self._groups = deployments.groups
        self._upstreams = deployments.upstreams
        self._models: dict[str, dict[str, Any]] = {}
        self._inner_models: dict[str, dict[str, Any]] = {}
        self._retries = document.shared("num_retries", int)
        self._health = self._health_settings()
        self._cache = self._cache_seconds()
        self._fallbacks = self._all_fallbacks()
        self._names = self._all_names()
        for group in self._groups:
            self._add_model(group)
        if self._cache and not self._models:
            document.leave_out("litellm_settings.cache", "only a table in [models] can have one")
        self._add_aliases()
        self._make_default(take(document.general, "completion_model", str))

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables by name. The first is the default model, so those that only others need come last."""
        return self._models | self._inner_models

    def _all_names(self) -> dict[str, str]:
        """Return our names of the models; one that we cannot have is changed, and reported."""
        names: dict[str, str] = {}
        taken = {name.casefold() for name in self._upstreams}
        for group, deployments in self._groups.items():
            name, number = as_name(group), 1
            while name.casefold() in taken:
                number += 1
                name = f"{as_name(group)}-{number}"
            taken.add(name.casefold())
            names[group] = name
            if name != group and [each.address for each in deployments] != [group]:
                self._document.leave_out(f"the name {group!r}", f"clients have to ask for {name!r}")
        return names

    def _add_model(self, group: str) -> None:
        deployments = self._groups[group]
        others = [other for other in self._fallbacks.get(group, ()) if other != group]
        for other in others:
            if other not in self._groups:
                self._document.leave_out(f"fallbacks of {group!r}", f"there is no model {other!r}")
        others = [other for other in others if other in self._groups]
        if not others and [each.address for each in deployments] == [group] and not self._cache:
            return  # clients reach it by that name without a model
        self._report_choice(group, deployments)
        own = self._balanced(deployments)
        if not others:
            self._models[self._names[group]] = self._with_attempts(own)
            return
        targets = []
        for each in (group, *others):
            # Not the model of another one that has fallbacks: this one may be among them.
            if len(self._groups[each]) == 1:
                targets += self._balanced(self._groups[each])["targets"]
            elif self._fallbacks.get(each):
                name = f"{self._names[each]}-deployments"
                self._inner_models[name] = self._balanced(self._groups[each])
                targets.append(name)
            else:
                targets.append(self._names[each])
        self._models[self._names[group]] = self._with_attempts({"targets": _unique(targets)})

    def _report_choice(self, group: str, deployments: list[Deployment]) -> None:
        """Report orders and weights that cannot be kept: requests would go where they did not."""
        if len(deployments) < 2 or _is_ordered(deployments):
            return
        if any(each.order is not None for each in deployments):
            self._document.leave_out(f"order of {group!r}", "some deployments share one or have none")
        if any(each.weight is not None for each in deployments) and not _has_weights(deployments):
            self._document.leave_out(f"weights of {group!r}", "some deployments have none, or 0")

    def _balanced(self, deployments: list[Deployment]) -> dict[str, Any]:
        """Return the model of one group of deployments."""
        is_ordered = _is_ordered(deployments)
        if is_ordered:
            deployments = sorted(deployments, key=lambda each: each.order or 0)
        is_balanced = len(deployments) > 1 and not is_ordered
        has_weights = is_balanced and _has_weights(deployments)
        targets: list[Any] = []
        for each in deployments:
            target: dict[str, Any] = {"to": each.address}
            if has_weights and len({each.weight for each in deployments}) > 1:
                target["weight"] = each.weight
            if each.limit is not None and each.limit > 0:
                target["limit"] = each.limit
            target |= self._health
            targets.append(target if len(target) > 1 else each.address)
        return {"targets": _unique(targets), **({"balance": True} if is_balanced else {})}

    def _with_attempts(self, model: dict[str, Any]) -> dict[str, Any]:
        if self._retries is not None:
            model["attempts"] = max(self._retries + 1, len(model["targets"]), 1)
        if self._cache:
            model["cache"] = self._cache
        return model

    def _add_aliases(self) -> None:
        for alias, target in (take(self._document.router, "model_group_alias", dict) or {}).items():
            group = str(target.get("model") if isinstance(target, dict) else target)
            name = self._names.get(group)
            if name is None or not is_name(str(alias)) or alias in {*self._models, *self._upstreams}:
                self._document.leave_out(f"model_group_alias: {alias}")
            elif name in self._models:
                self._models[alias] = {"targets": [name]}
            else:
                self._models[alias] = {"targets": [self._groups[group][0].address]}

    def _make_default(self, name: str | None) -> None:
        """Make a model the default one."""
        if name in self._models:
            assert name is not None
            self._models = {name: self._models[name], **self._models}

    def _all_fallbacks(self) -> dict[str, list[str]]:
        """Return the fallbacks by group. Of several for a group the first one counts, and `*` is for all others."""
        found: dict[str, list[str]] = {}
        for section in (self._document.router, self._document.litellm):
            for entry in take(section, "fallbacks", list) or ():
                for group, others in as_dict(entry).items():
                    if not isinstance(others, list):
                        continue
                    if found.setdefault(group, others) is not others:
                        self._document.leave_out(f"fallbacks of {group!r}: {_listed(others)}", "others come before")
                    elif group not in self._groups and group != _ALL:
                        self._document.leave_out(f"fallbacks of {group!r}", "there is no such model")
        default = found.pop(_ALL, None) or self._document.shared("default_fallbacks", list) or ()
        names = [name for name in default if isinstance(name, str)]
        if names:
            for group in self._groups:
                if group not in names:
                    found.setdefault(group, names)
        for kind in ("context_window_fallbacks", "content_policy_fallbacks"):
            if self._document.shared(kind, list):
                self._document.leave_out(kind, "a model goes on to its next target after a context that is too long")
        return found

    def _health_settings(self) -> dict[str, Any]:
        failures, pause = (
            self._document.shared("allowed_fails", int),
            self._document.shared("cooldown_time", int, float),
        )
        health: dict[str, Any] = {}
        if failures is not None and failures >= 0:
            health["failures"] = failures + 1
        if pause is not None and pause > 0:
            health["pause"] = pause
        return health

    def _cache_seconds(self) -> float | None:
        seconds: float | None
        params = dict(take(self._document.litellm, "cache_params", dict) or {})
        if not take(self._document.litellm, "cache", bool):
            return None
        seconds = take(params, "ttl", int, float)
        if params.get("mode") == "default_off" or seconds is None or seconds <= 0:
            self._document.leave_out(
                "litellm_settings.cache", "set cache = SECONDS in the models that may repeat replies"
            )
            return None
        for field in params:
            if field not in ("type", "mode"):
                self._document.leave_out(f"litellm_settings.cache_params.{field}")
        return seconds


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names))


def _unique(targets: list[Any]) -> list[Any]:
    """Return the targets without those that have the address of an earlier one."""
    by_address: dict[str, Any] = {}
    for target in targets:
        by_address.setdefault(target if isinstance(target, str) else target["to"], target)
    return list(by_address.values())


def _is_ordered(deployments: list[Deployment]) -> bool:
    orders = [each.order for each in deployments]
    return None not in orders and len(set(orders)) == len(orders) > 1


def _has_weights(deployments: list[Deployment]) -> bool:
    return all(each.weight is not None and each.weight > 0 for each in deployments)
