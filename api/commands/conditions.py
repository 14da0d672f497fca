"""What a platform says of an account's health, of its own accord or with a receipt."""

from datetime import datetime

from api.commands.unit import Unit
from domain import account as accounts
from domain.account import Account
from domain.inbound import AccountNoticed, ReceiptOccurred


def note_condition(
    unit: Unit,
    platform: str,
    account_id: str,
    told: AccountNoticed | ReceiptOccurred,
    *,
    now: datetime,
) -> None:
    """Record what a notice or receipt changes, where somebody holds the account. Raises Missing."""
    if told.condition is None:
        return
    stream = accounts.stream_of(platform, account_id)
    account = unit.state(stream, Account)
    if not account.claimed:
        return
    reason = told.condition.reason
    match told.condition.state:
        case "stopped":
            code = told.error_code if isinstance(told, ReceiptOccurred) else None
            unit.record(stream, accounts.stop(account, reason=reason, error_code=code))
        case "restricted":
            until = told.condition.until
            restricted = accounts.impair(
                account, state="restricted", reason=reason, until=until, now=now
            )
            unit.record(stream, restricted)
        case "ok":
            unit.record(stream, accounts.resume(account))
