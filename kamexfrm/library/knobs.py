"""The knobs of a namespace as attributes."""

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.model.knobs import KNOBS, Knob, knob
from kamexfrm.net import AF_INET, AF_INET6


class FamilyKnobs:
    """The five knobs of one address family.

    Reading gives the value in force, writing changes it and all policies that depend on it. Raises
    KnobError (EINVAL) for a value that a knob does not take, KernelError.
    """

    def __init__(self, engine: Engine, family: int) -> None:
        self._engine = engine
        self._family = family

    def _get(self, field: str) -> int:
        value: int = getattr(self._engine.knobs().of(self._family), field)
        return value

    def _set(self, field: str, value: int) -> None:
        _write(self._engine, _POLICY_KNOBS[self._family, field], value)

    @property
    def def_policy(self) -> int:
        """What becomes of packets that match no policy: 1 (none) or 0 (discard)."""
        return self._get("def_policy")

    @def_policy.setter
    def def_policy(self, value: int) -> None:
        self._set("def_policy", value)

    @property
    def esp_trans_deflev(self) -> int:
        """What level default means for ESP in transport mode: 1 (use) or 2 (require)."""
        return self._get("esp_trans_deflev")

    @esp_trans_deflev.setter
    def esp_trans_deflev(self, value: int) -> None:
        self._set("esp_trans_deflev", value)

    @property
    def esp_net_deflev(self) -> int:
        """The same for ESP in tunnel mode."""
        return self._get("esp_net_deflev")

    @esp_net_deflev.setter
    def esp_net_deflev(self, value: int) -> None:
        self._set("esp_net_deflev", value)

    @property
    def ah_trans_deflev(self) -> int:
        """The same for AH in transport mode."""
        return self._get("ah_trans_deflev")

    @ah_trans_deflev.setter
    def ah_trans_deflev(self, value: int) -> None:
        self._set("ah_trans_deflev", value)

    @property
    def ah_net_deflev(self) -> int:
        """The same for AH in tunnel mode."""
        return self._get("ah_net_deflev")

    @ah_net_deflev.setter
    def ah_net_deflev(self, value: int) -> None:
        self._set("ah_net_deflev", value)


class KnobAttributes:
    """All knobs: ``inet`` and ``inet6`` have the policy's, ``["NAME"]`` every one by its sysctl."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inet = FamilyKnobs(engine, AF_INET)
        self.inet6 = FamilyKnobs(engine, AF_INET6)

    def __getitem__(self, name: str) -> int:
        """Return a knob's value; raises KnobError (ENOENT), KernelError."""
        return self._engine.knobs().value(knob(name))

    def __setitem__(self, name: str, value: int) -> None:
        """Write a knob; raises KnobError (ENOENT, EINVAL, EOPNOTSUPP), KernelError."""
        _write(self._engine, knob(name), value)

    def as_dict(self) -> dict[str, int]:
        """Return all knobs by their sysctl names."""
        knobs = self._engine.knobs()
        return {each.name: knobs.value(each) for each in KNOBS}


def _write(engine: Engine, which: Knob, value: int) -> None:
    engine.submit(SetKnob(which, value))
    engine.flush()


_POLICY_KNOBS = {(each.family, each.field): each for each in KNOBS if each.is_policy_knob}
