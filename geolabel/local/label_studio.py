"""A Label Studio of our own: offline, without questions, in an environment of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock

from geolabel.errors import AdapterError, ConfigError
from geolabel.local.ports import LOOPBACK
from geolabel.local.processes import Child, child_environment

DATABASE = "label_studio.sqlite3"
MIGRATE_TIMEOUT_S = 600

#: Label Studio refuses backends and webhooks at private addresses. These are its own banned networks without
#: 127.0.0.0/8, so that a backend on this machine works and the rest of the private network stays out of reach.
BANNED_SUBNETS = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.168.0.0/16,198.18.0.0/15,"
    "224.0.0.0/4,240.0.0.0/4,::/128,fc00::/7,fe80::/10,ff00::/8"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioServer:
    """Where it lives and who logs in.

    Attributes:
        python_env: Environment that Label Studio is installed in.
        data_dir: Folder of its database and media.
        port: Port on this machine.
        email: Login of the first account.
        password: Its password, used only when the account is made.
        token: Its legacy token, 40 hexadecimal digits, used only when the account is made.
        template_dir: Folder where the migrated empty database is kept, so that only the first start on a machine takes
            the half minute that the migrations need.
        extra_env: More variables, for example a Django settings module.
    """

    python_env: Path
    data_dir: Path
    port: int
    email: str
    password: str
    token: str
    template_dir: Path
    extra_env: Mapping[str, str]

    @property
    def url(self) -> str:
        """Address without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def program(self) -> Path:
        """The program ``label-studio`` of the environment.

        Raises:
            ConfigError: it is not there.
        """
        path = self.python_env.absolute() / "bin" / "label-studio"
        if not path.is_file():
            raise ConfigError(
                f"Label Studio is not installed in {self.python_env}. Run `make env-ls`, or set "
                "GEOLABEL_LOCAL__LABEL_STUDIO_ENV to the environment that holds it."
            )
        return path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Build the whole environment of the server: nothing it could take from the person's own, no network."""
        values = {
            "BASE_DATA_DIR": str(self.data_dir.absolute()),
            "USERNAME": self.email,
            "PASSWORD": self.password,
            "USER_TOKEN": self.token,
            "ENABLE_LEGACY_API_TOKEN": "true",
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "HOST": self.url,
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "USER_ADDITIONAL_BANNED_SUBNETS": BANNED_SUBNETS,
        }
        prefixed = {f"LABEL_STUDIO_{name}": value for name, value in values.items()}
        return child_environment(base, DJANGO_DB="sqlite", LOG_LEVEL="WARNING", **prefixed, **self.extra_env)

    def prepare(self, base: Mapping[str, str]) -> None:
        """Make the database where there is none, from the kept template.

        Raises:
            AdapterError: the migrations failed.
        """
        database = self.data_dir / DATABASE
        if database.is_file():
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        template = self._template(base)
        partial = database.with_suffix(".partial")
        shutil.copyfile(template, partial)
        partial.replace(database)

    def child(self, log: Path, base: Mapping[str, str]) -> Child:
        """Describe the server process; call :meth:`prepare` before it is started."""
        program = self.program
        return Child(
            name="label-studio",
            argv=[str(program), "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(self.port)],
            env=self.environment(base),
            log=log,
            ready=lambda: healthy(self.url),
            cwd=self.data_dir.absolute(),
            ready_s=300.0,
        )

    def _template(self, base: Mapping[str, str]) -> Path:
        folder_of_all = self.template_dir.absolute()
        folder_of_all.mkdir(parents=True, exist_ok=True)
        template = folder_of_all / f"{self._template_key()}.sqlite3"
        with FileLock(f"{template}.lock"):
            if template.is_file():
                return template
            with tempfile.TemporaryDirectory(dir=folder_of_all) as folder:
                env = self.environment(base)
                env["LABEL_STUDIO_BASE_DATA_DIR"] = folder
                for name in ("USERNAME", "PASSWORD", "USER_TOKEN"):
                    del env[f"LABEL_STUDIO_{name}"]
                ended = subprocess.run(
                    [str(self.program), "init", "-q"],
                    env=env,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=MIGRATE_TIMEOUT_S,
                    check=False,
                )
                made = Path(folder) / DATABASE
                if ended.returncode != 0 or not made.is_file():
                    words = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
                    raise AdapterError(f"Label Studio's database could not be made: {' | '.join(words)}")
                os.replace(made, template)
        return template

    def _template_key(self) -> str:
        """Name the template by everything that decides its tables: the installed distributions and added apps."""
        packages = sorted(
            path.name for path in self.python_env.absolute().glob("lib/python3*/site-packages/*.dist-info")
        )
        seed = "\n".join([*packages, *(f"{name}={value}" for name, value in sorted(self.extra_env.items()))])
        version = next((name for name in packages if name.startswith("label_studio-")), "label_studio")
        return f"{version.removesuffix('.dist-info')}-{hashlib.sha256(seed.encode()).hexdigest()[:12]}"


def healthy(url: str) -> bool:
    """Tell whether a Label Studio answers at the address."""
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
