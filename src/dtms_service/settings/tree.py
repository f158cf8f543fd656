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
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from dtms_client import places
from dtms_service.domain.ownership import DTMS_STRATEGIES
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Mode
from dtms_service.domain.unmanaged import Policy

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


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not text.isprintable() or " " in text:
        message = "an http or https address is needed"
        raise ValueError(message)
    try:
        _ = parts.port
    except ValueError as error:
        message = f"the address has an impossible port ({error})"
        raise ValueError(message) from error
    return text


Address = Annotated[str, AfterValidator(_address)]
Folder = Annotated[Path, AfterValidator(folder)]
Moment = Annotated[datetime, AfterValidator(_utc)]


class Section(BaseModel):
    """A frozen group of settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RateLimit(Section):
    """How much one caller may ask."""

    enabled: bool = True
    """Hold each token or address to 50 requests per second with bursts of 200 (R42), so that one caller's loop
    cannot take the service from the others. Orders (`/dtms/control/...`) have the same again for themselves."""


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
    token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """One bearer token with all scopes, at least 16 characters; give it as `DTMS_API_TOKEN`, not in a file."""
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
    hedge_prohibited: bool = False
    """Are opposite positions of a symbol refused?"""
    commission: float = Field(default=0.0, ge=0, le=1e6)
    """Money per lot and deal."""
    stop_out_percent: float = Field(default=50.0, ge=0, le=1000)
    """Margin level below which the broker closes positions by itself."""
    server_utc_offset: float = Field(default=0.0, ge=-14, le=14, multiple_of=0.25)
    """Hours by which the broker's clock is ahead of UTC."""
    server_summer_time: bool = False
    """Is it one hour more while New York has summer time? DTMS then measures the offset, as on a real terminal."""


class SimulatedBroker(Section):
    """How the simulated broker and terminal behave where distributions decide or MetaTrader leaves it open.

    Times are seconds of the market's clock. Everything happens at once and without limits unless told otherwise (R38).
    """

    latency: Literal["none", "typical"] = "none"
    """`typical`: calls take a lognormal time, by kind of call: reads 1 ms (99th percentile 15), bars 3 (40), orders
    120 (800)."""
    slippage_points: float = Field(default=0.0, ge=0, le=1e6)
    """Mean slippage of market orders, in points against the trader, exponentially distributed."""
    requests_per_s: int = Field(default=0, ge=0, le=1_000_000)
    """Orders the server takes in a second before it answers 10024; 0 is no limit."""
    visibility_lag_s: float = Field(default=0.0, ge=0, le=60)
    """How late positions, orders and deals show in the terminal's records."""
    first_tick_s: float = Field(default=0.0, ge=0, le=3600)
    """How long a symbol just selected shows no quote."""
    history_load_s: float = Field(default=0.0, ge=0, le=3600)
    """How long the first question for bars of a symbol and timeframe fails."""
    missing_position: Literal["closed", "invalid"] = "closed"
    """Answer to an order for a position that is gone: 10036, or 10013 by the terminal itself."""
    api_off: Literal["error", "retcode"] = "error"
    """Answer to an order while the terminal's switch for Python is off: error -8, or 10027."""
    unselected_tick: Literal["zero", "none"] = "zero"
    """Tick of a symbol that is not in Market Watch: zeros, or None."""
    positions_of_unknown_symbol: Literal["empty", "none"] = "empty"
    """Answer to `positions_get` for a symbol the broker does not have."""
    deals_by_ticket: Literal["one", "none"] = "one"
    """Answer to `history_deals_get(ticket=)`: the order's deal, or None."""


class SimulatedSymbol(Section):
    """What is different about one symbol; a field that is absent stays as in the built-in catalogue."""

    name: str
    """Which symbol."""
    execution: Literal["request", "instant", "market", "exchange"] | None = None
    """Execution mode."""
    filling: Literal["none", "fok", "ioc", "both"] | None = None
    """Filling modes."""
    trade_mode: Literal["disabled", "long_only", "short_only", "close_only", "full"] | None = None
    """What may be opened."""
    close_by: bool | None = None
    """May opposite positions close each other?"""
    stops_level: int | None = None
    """Least distance of stops, points."""
    least_stop_level: int | None = None
    """Least distance that the broker wants although `stops_level` says less, points."""
    freeze_level: int | None = None
    """Distance of the price from a level within which nothing may be changed, points."""
    volume_min: float | None = None
    """Lots."""
    volume_max: float | None = None
    """Lots."""
    volume_step: float | None = None
    """Lots."""
    volume_limit: float | None = None
    """Lots in one direction; 0 is no limit."""
    liquidity: float | None = None
    """Lots that one order finds at the price; 0 is no limit."""
    margin_initial: float | None = None
    """Fixed margin of a lot; 0 is the formula."""
    margin_hedged: float | None = None
    """Contract size of a covered lot."""
    margin_hedged_use_leg: bool | None = None
    """Does only the larger side count?"""
    swap_mode: Literal["disabled", "points", "money", "reopen_current", "reopen_bid"] | None = None
    """How a night is charged."""
    swap_long: float | None = None
    """Points, or money per lot."""
    swap_short: float | None = None
    """Points, or money per lot."""
    swap_triple_day: int | None = None
    """Weekday whose night counts three times, 3 is Wednesday; 0 is none."""


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
    symbols: tuple[SimulatedSymbol, ...] = ()
    """Changes to contracts, one table per symbol: `name` and any of `execution`, `filling`, `trade_mode`, `close_by`,
    `stops_level`, `least_stop_level`, `freeze_level`, `volume_min`, `volume_max`, `volume_step`, `volume_limit`,
    `liquidity`, `margin_initial`, `margin_hedged`, `margin_hedged_use_leg`, `swap_mode`, `swap_long`, `swap_short`,
    `swap_triple_day`; see docs/reference/terminal.md."""
    account: SimulatedAccount = SimulatedAccount()
    broker: SimulatedBroker = SimulatedBroker()

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


class Webhook(Section):
    """Where alerts are posted; see docs/howto/alerts.md."""

    url: Address | None = None
    """Address that takes them, http or https; none: alerts are in the log and under `GET /dtms/alerts` only."""
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    """What every post is signed with, at least 16 characters; better given as `DTMS_ALERTS__WEBHOOK__SECRET`."""


class Deadman(Section):
    """A ping to somebody outside, who sounds the alarm when it stays away."""

    url: Address | None = None
    """Address that is asked for (GET) after a completed cycle; none: no ping."""
    period_s: float = Field(default=60.0, ge=10, le=86_400)
    """Seconds between two pings at least; the receiver should allow this and one cycle more."""


class Alerts(Section):
    """How people hear of alerts."""

    webhook: Webhook = Webhook()
    deadman: Deadman = Deadman()


class Metrics(Section):
    """Numbers for Prometheus."""

    enabled: bool = True
    """Answer `GET /metrics` and `GET /dtms/metrics`."""


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
    unmanaged: Policy = Policy.ALERT
    """Positions that nobody registered: `alert` tells people, `observe` records their state and sends nothing, `adopt`
    registers them for protection (R49)."""
    api: Api = Api()
    terminal: Terminal = Terminal()
    ledger: Ledger
    cadence: Cadence = Cadence()
    ownership: Ownership = Ownership()
    simulator: Simulator = Simulator()
    spool: Spool
    alerts: Alerts = Alerts()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    engine: Parameters = Parameters()

    @property
    def machine_dir(self) -> Path:
        """Folder that all state folders of this machine's user share, for the locks of real accounts (R33)."""
        return places.user_state_dir() / "dtms"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be written down."""
        hidden = (self.api.token, self.alerts.webhook.secret)
        return tuple(secret.get_secret_value() for secret in hidden if secret is not None)

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
