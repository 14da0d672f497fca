"""The application: the list of handlers is the table of contents."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.di import Provide

from api import (
    canned,
    channels,
    chats,
    decisions,
    events,
    health,
    media,
    messages,
    organisations,
    pricing,
    recounts,
    statements,
    stream,
    templates,
    webhooks,
)
from api import credits as credit_routes
from api.answers import keep_nowhere, page
from api.authentication import Authentication, Principal
from api.bodies import check_request
from api.commands.canned import Canned
from api.commands.channels import Channels
from api.commands.chats import Chats
from api.commands.credits import CreditAccounts
from api.commands.execute import Executor
from api.commands.media import MediaFiles
from api.commands.organisations import Organisations
from api.commands.quotes import Quotes
from api.commands.replies import Replies
from api.commands.templates import AccountTemplates
from api.commands.window_rules import WindowRules
from api.document import openapi_document
from api.feeds import Feeds
from api.handlers import takes
from api.metrics import Metrics
from api.names import Names
from api.payment_queue import ProjectedPayments
from api.problems import EXCEPTION_HANDLERS
from api.rate_cards import RateCards
from api.reading import Reading
from api.settings import Settings
from api.showing import Showing
from api.webhooks import WEBHOOK_BODY_BYTES_MAX, Webhooks
from domain.ports import Clock, Directory
from projections.engine.builds import LiveBuilds
from projections.engine.standing import Standings

HANDLERS = (
    *organisations.HANDLERS,
    *channels.HANDLERS,
    *decisions.HANDLERS,
    *chats.HANDLERS,
    *messages.HANDLERS,
    *media.HANDLERS,
    *stream.HANDLERS,
    *canned.HANDLERS,
    *templates.HANDLERS,
    *credit_routes.HANDLERS,
    *pricing.HANDLERS,
    *statements.HANDLERS,
    *recounts.HANDLERS,
    *events.HANDLERS,
    *health.HANDLERS,
    *webhooks.HANDLERS,
)


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What handlers may ask for, by name."""

    settings: Settings
    authentication: Authentication
    executor: Executor
    organisations: Organisations
    channels: Channels
    chats: Chats
    replies: Replies
    canned: Canned
    account_templates: AccountTemplates
    window_rules: WindowRules
    media: MediaFiles
    credit_accounts: CreditAccounts
    quotes: Quotes
    rate_cards: RateCards
    reading: Reading
    standings: Standings
    feeds: Feeds
    showing: Showing
    names: Names
    directory: Directory
    clock: Clock
    webhooks: Webhooks
    payment_queue: ProjectedPayments
    metrics: Metrics
    all_organisations: LiveBuilds


def create_app(given: Dependencies, handlers: Sequence[Any] = HANDLERS) -> Litestar:
    """The application over what its handlers may ask for."""

    async def before_request(request: Request[Any, Any, Any]) -> Response[None] | None:
        """Who asks comes before what is asked: without a valid key all is 401."""
        if request.method == "OPTIONS":
            return _options(request)
        if takes(request.route_handler, "principal"):
            request.state.principal = await given.authentication.principal(request)
        await check_request(request)
        return None

    def principal(request: Request[Any, Any, Any]) -> Principal:
        known: Principal = request.state.principal
        return known

    def the(name: str) -> Provide:
        dependency = getattr(given, name)
        return Provide(lambda: dependency, sync_to_thread=False)

    dependencies = {
        **{name: the(name) for name in Dependencies.__dataclass_fields__},
        "principal": Provide(principal, sync_to_thread=False),
        "page": Provide(page, sync_to_thread=False),
        "bills": Provide(statements.bills, sync_to_thread=False),
        "chat_query": Provide(chats.chat_query, sync_to_thread=False),
    }

    @cache
    def document() -> dict[str, Any]:
        return openapi_document([*HANDLERS, get_openapi], dependencies)

    @get("/openapi.json", sync_to_thread=True)
    def get_openapi() -> dict[str, Any]:
        """What this API takes and answers, as OpenAPI."""
        return document()

    return Litestar(
        [*handlers, get_openapi],
        dependencies=dependencies,
        before_request=before_request,
        before_send=[given.metrics.count_request, keep_nowhere],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,  # The document is ours, and so is every page.
        request_max_body_size=WEBHOOK_BODY_BYTES_MAX + 1,
        logging_config=None,
    )


def _options(request: Request[Any, Any, Any]) -> Response[None]:
    """Every method of the path; the framework would name those of one of its handlers."""
    path = request.scope["path_template"]
    routes = (route for route in request.app.routes if route.path_format == path)
    methods = sorted({method for route in routes for method in route.methods})
    return Response(None, status_code=204, headers={"Allow": ", ".join(methods)})
