"""QuantityCommand: a code whose printed numbers have names, as the base of kinds."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass

from raydnnr.errors import ConfigError, did_you_mean
from raydnnr.evaluation import Source
from raydnnr.tools.text_address import KEYS
from raydnnr.tools.text_command import TextCommand


@dataclass(frozen=True, kw_only=True)
class QuantityCommand(TextCommand):
    """A command whose output is also addressed by ``{quantity = "name"}``."""

    def address(self, settings: Mapping[str, object], observable: str) -> Source:
        """``{quantity = "name"}``, or an address of any command."""
        where = f"observables.{observable}.from"
        accepted = ["quantity", *KEYS]
        for key in settings:
            if key not in accepted and key != "tool":
                raise ConfigError(f"{where}: no setting {key!r} for this tool; it accepts {', '.join(accepted)}."
                                  + did_you_mean(key, accepted))
        if "quantity" not in settings:
            return super().address(settings, observable)
        quantity = settings["quantity"]
        if not isinstance(quantity, str) or not quantity.strip() or settings.keys() - {"quantity", "tool"}:
            raise ConfigError(f"{where}: got {dict(settings)!r}; use quantity = 'name', alone")
        try:
            return super().address({"pattern": self._pattern(quantity)}, observable)
        except ConfigError as error:
            raise ConfigError(f"{where}.quantity: {error}") from None

    @abc.abstractmethod
    def _pattern(self, quantity: str) -> str:
        """The regular expression that finds it. Raises ConfigError where the code prints nothing of that name."""
