"""What a platform says of its own accord about an account's health."""

from datetime import datetime

from api.commands.unit import Unit
from domain import account as accounts
from domain.account import Account
from domain.inbound import AccountNoticed


def note_condition(
    unit: Unit, platform: str, account_id: str, notice: AccountNoticed, *, now: datetime
) -> None:
    """Record what a notice changes, where somebody holds the account. Raises Missing."""
    if notice.condition is None:
        return
    stream = accounts.stream_of(platform, account_id)
    account = unit.state(stream, Account)
    if not account.claimed:
        return
    reason = notice.condition.reason
    match notice.condition.state:
        case "stopped":
            unit.record(stream, accounts.stop(account, reason=reason, error_code=None))
        case "restricted":
            until = notice.condition.until
            restricted = accounts.impair(
                account, state="restricted", reason=reason, until=until, now=now
            )
            unit.record(stream, restricted)
        case "ok":
            unit.record(stream, accounts.resume(account))
