"""One installed environment for every tox environment.

torch and its CUDA libraries take five gigabytes, so `tox.ini` gives all environments the same `env_dir`. tox
would still install it anew whenever another name uses it, because it records the name; this plugin
records one shared name instead.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tox.plugin import impl
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class _SharedInfo(Info):
    """What tox remembers of an environment, under one name for all of them."""

    @contextmanager
    def compare(self, value: Any, section: str, sub_section: str | None = None) -> Generator[tuple[bool, Any | None]]:
        if section == "ToxEnv":
            value = {**value, "name": "shared"}
        with super().compare(value, section, sub_section) as result:
            yield result


class SharedVirtualEnv(VirtualEnvRunner):
    """A virtual environment that several tox environments use."""

    @staticmethod
    def id() -> str:
        """Name of this runner in tox.ini."""
        return "shared-virtualenv"

    @property
    def cache(self) -> Info:
        """What tox remembers of this environment."""
        return _SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Make the runner known to tox."""
    register.add_run_env(SharedVirtualEnv)
