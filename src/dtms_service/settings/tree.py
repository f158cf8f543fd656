"""The settings as one frozen tree: what the operator may choose, with unit and reason under each. No reading, no files.

Only what some code reads is a setting. Types carry the bounds; rules over several settings are in ``loading``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from dtms_client import places
from dtms_service.domain.ownership import DTMS_STRATEGIES
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Mode

DERIVED: Mapping[str, str] = {
    "state_dir": "the platform's user state folder + `/dtms`",
    "mode": "`protect` on the simulated terminal, `observe` on a real one",
    "terminal.kind": "`simulated`; where `MetaTrader5` can be imported a choice is required",
    "ledger.url": "`sqlite+aiosqlite:///<state_dir>/dtms.db`",
    "spool.folders": "`<state_dir>/outbox`",
}
"""Settings whose default depends on others: what it is, in words."""


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def folder(path: Path) -> Path:
    """Spell out ``~`` and the working directory."""
    return path.expanduser().absolute()


Folder = Annotated[Path, AfterValidator(folder)]
Moment = Annotated[datetime, AfterValidator(_utc)]


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RateLimit(Section):
    """How much one caller may ask."""

    enabled: bool = True
    """Hold each token or address to 50 requests per second with bursts of 200 (R42), so that one caller's loop
    cannot take the service from the others."""


class Token(Section):
    """A bearer token that is accepted."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
    """SHA-256 of the token in hex; the token itself is never stored."""
    scopes: tuple[Literal["read", "register", "control"], ...]
    """What it allows."""


class Api(Section):
    """The HTTP door."""

    host: str = places.HOST
    """Address to listen on. Loopback means 127.0.0.1 and ::1; any other address requires a token."""
    port: int = Field(default=places.PORT, ge=1, le=65535)
    """TCP port, for the service and for every client."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names, besides the loopback ones, that a request may be addressed to (against DNS rebinding)."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the service (`http://localhost:8000`); none by default."""
    token: SecretStr | None = None
    """One bearer token with all scopes; give it as `DTMS_API_TOKEN`, not in a file."""
    tokens: tuple[Token, ...] = ()
    """Accepted bearer tokens, `{sha256, scopes}` each. Any token closes everything but two health paths (R43)."""
    timeout: float = Field(default=places.TIMEOUT_S, gt=0, le=300)
    """Seconds that one call of a client may take, retries included. Read by clients."""
    retry_count: int = Field(default=places.RETRY_COUNT, ge=1, le=100)
    """Attempts of one call of a client. Read by clients."""
    rate_limit: RateLimit = RateLimit()


class Terminal(Section):
    """MetaTrader 5."""

    kind: Literal["simulated", "mt5"] = "simulated"
    """Which terminal: never a silent fall-back from one to the other (R39)."""
    path: Path | None = None
    """The terminal's program (`terminal64.exe`); none: the one that is running or was installed last."""
    login: int | None = Field(default=None, gt=0)
    """Account number that the terminal must show; none: whichever it shows at the first start (R45)."""
    server: str | None = None
    """Trade server of that account."""


class Ledger(Section):
    """The durable record."""

    url: str
    """SQLAlchemy address of the database."""


class Cadence(Section):
    """When to look."""

    cycle_s: float = Field(default=30.0, ge=1, le=300)
    """Seconds between two looks at all trades; halved while a trade is in danger or a market is violent (R41)."""


class Ownership(Section):
    """Which trades DTMS protects."""

    dtms_strategies: tuple[str, ...] = DTMS_STRATEGIES
    """Strategy types that DTMS protects although they name one; any other named strategy belongs to the Universal
    Manager, which refuses exactly these (R23)."""


class SimulatedAccount(Section):
    """The account of the simulated terminal, when it is opened for the first time (R38)."""

    balance: float = Field(default=100_000.0, gt=0)
    """Money, in the account's currency."""
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "USD"
    """Three letters."""
    leverage: int = Field(default=100, ge=1, le=5000)
    """Leverage, 1 : this."""
    margin_mode: Literal["hedging", "netting", "exchange"] = "hedging"
    """How a second deal on a symbol is booked."""
    fifo_close: bool = False
    """Must the oldest position of a symbol be closed first?"""
    server_utc_offset: float = Field(default=0.0, ge=-14, le=14, multiple_of=0.25)
    """Hours by which the broker's clock is ahead of UTC."""


class Simulator(Section):
    """The simulated terminal; read only while `terminal.kind` is `simulated`."""

    market: str = "synthetic"
    """`synthetic` (generated from the seed), or a file or folder of bars."""
    seed: int = Field(default=1, ge=0)
    """Seed of everything that is random in the simulation."""
    clock: Literal["live", "stepped"] | Annotated[float, Field(gt=0, le=100_000)] = "live"
    """`live`, a speed factor such as 60, or `stepped` (time moves only through `/simulator/advance`)."""
    start: Moment | None = None
    """First moment of the market, UTC; none: after the first 30 % of the data, so that most indicators are warm."""
    account: SimulatedAccount = SimulatedAccount()

    @property
    def factor(self) -> float | None:
        """Speed of the clock, 1.0 when live; None when it is stepped."""
        if self.clock == "stepped":
            return None
        return 1.0 if self.clock == "live" else float(self.clock)


class Spool(Section):
    """Registrations that callers left on disk."""

    folders: tuple[Folder, ...]
    """Folders that the service empties, at start and every two seconds."""


class Logs(Section):
    """What is written down about the service itself; what it did to trades is in the ledger."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is written."""


class Settings(Section):
    """All settings."""

    state_dir: Folder
    """Folder of everything DTMS keeps: database, lock, simulated account, spool, logs."""
    mode: Mode = Mode.PROTECT
    """`observe` decides and records but sends nothing; `protect` acts."""
    api: Api = Api()
    terminal: Terminal = Terminal()
    ledger: Ledger
    cadence: Cadence = Cadence()
    ownership: Ownership = Ownership()
    simulator: Simulator = Simulator()
    spool: Spool
    logs: Logs = Logs()
    engine: Parameters = Parameters()

    @property
    def machine_dir(self) -> Path:
        """Folder that all state folders of this machine's user share, for the locks of real accounts (R33)."""
        return places.user_state_dir() / "dtms"

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All accepted tokens; `api.token` counts as one with every scope (R43)."""
        if self.api.token is None:
            return self.api.tokens
        digest = hashlib.sha256(self.api.token.get_secret_value().encode()).hexdigest()
        return (*self.api.tokens, Token(sha256=digest, scopes=("read", "register", "control")))


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """One setting: its dotted name, type and default (`...` when it has none)."""

    name: str
    type: Any
    default: Any


def leaves(cls: type = Settings, prefix: str = "") -> Iterator[Leaf]:
    """Every setting of the tree, in the order they are written."""
    for name, kind, default in fields_of(cls):
        if isinstance(kind, type) and (issubclass(kind, Section) or dataclasses.is_dataclass(kind)):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield Leaf(prefix + name, kind, default)


def value_of(settings: Settings, name: str) -> Any:
    """The value of a setting by its dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def fields_of(cls: type) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default (``...`` for none) of each field of one group."""
    if issubclass(cls, Section):
        for name, field in cls.model_fields.items():
            yield name, field.annotation, ... if field.is_required() else field.default
        return
    types = get_type_hints(cls)
    for item in dataclasses.fields(Parameters):
        yield item.name, types[item.name], item.default


def is_loopback(host: str) -> bool:
    """True when this listening address stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
