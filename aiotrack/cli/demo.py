"""`aiotrack demo`: a small shop, a crowd that browses it over real HTTP, and what was tracked of it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import aiotrack
from aiotrack.destinations.local_store import EventSummary

CATALOG = {"shoes": 8900, "socks": 900, "hat": 2400, "scarf": 3100, "gloves": 1900}  # prices in cents
CLIENT = web.AppKey("client", aiotrack.Client)
STORE = "aiotrack-demo.db"
AT_ONCE = 50  # visitors in the shop at the same time


class NoBots:
    """A plugin that checks: what a bot does is no conversion."""

    @aiotrack.hookimpl
    def aiotrack_check_event(self, event: aiotrack.Event) -> str | None:
        """Refuse events of bots."""
        return "the visitor is a bot" if "bot" in (event.user_agent or "").lower() else None


class Tally:
    """A plugin that listens: the shop's own count, to hold against what arrives."""

    def __init__(self) -> None:
        self.tracked: Counter[str] = Counter()

    @aiotrack.hookimpl
    def aiotrack_event_tracked(self, event: aiotrack.Event) -> None:
        """Count an accepted event."""
        self.tracked[event.key] += 1


def make_shop(client: aiotrack.Client) -> web.Application:
    """Return the shop; it starts and closes the client with itself."""

    async def tracking(app: web.Application) -> AsyncIterator[None]:
        async with client:
            app[CLIENT] = client
            yield

    app = web.Application()
    app.cleanup_ctx.append(tracking)
    app.add_routes([web.get("/{product}", view), web.post("/cart/{product}", add), web.post("/checkout", buy)])
    return app


def visitor_of(request: web.Request) -> aiotrack.UserContext:
    """Return the user context of a request."""
    return request.app[CLIENT].create_user_context(
        request.headers["X-Visitor"],
        {"returning": request.headers.get("X-Returning") == "yes"},
        user_agent=request.headers.get("User-Agent"),
        ip_address=request.remote,
    )


async def view(request: web.Request) -> web.Response:
    """Show a product."""
    product = request.match_info["product"]
    await visitor_of(request).track_event("view", {"product": product})
    return web.json_response({"product": product, "price": CATALOG[product]})


async def add(request: web.Request) -> web.Response:
    """Put a product into the cart."""
    product = request.match_info["product"]
    await visitor_of(request).track_event("add_to_cart", {"product": product, "value": CATALOG[product] / 100})
    return web.json_response({"ok": True})


async def buy(request: web.Request) -> web.Response:
    """Check out."""
    products = (await request.json())["products"]
    revenue = sum(CATALOG[product] for product in products)
    await visitor_of(request).track_event("purchase", {"revenue": revenue, "value": len(products), "items": products})
    return web.json_response({"ok": True, "paid": revenue})


async def visit(session: aiohttp.ClientSession, url: str, number: int, dice: random.Random) -> None:
    """Browse the shop as one visitor: some only look, some fill a cart, some buy; one in fifty is a bot."""
    headers = {
        "X-Visitor": f"visitor-{number}",
        "X-Returning": dice.choice(["yes", "no"]),
        "User-Agent": "DemoBot/1.0" if number % 50 == 0 else "Mozilla/5.0",
    }
    cart = []
    for product in dice.sample(list(CATALOG), dice.randint(1, len(CATALOG))):
        async with session.get(f"{url}/{product}", headers=headers) as response:
            response.raise_for_status()
        if dice.random() < 0.4:
            cart.append(product)
            async with session.post(f"{url}/cart/{product}", headers=headers) as response:
                response.raise_for_status()
    if cart and dice.random() < 0.6:
        async with session.post(f"{url}/checkout", headers=headers, json={"products": cart}) as response:
            response.raise_for_status()


async def crowd(url: str, visitors: int, progress: Progress) -> None:
    """Send that many visitors through the shop, some at a time."""
    bar = progress.add_task("visitors", total=visitors)
    numbers = iter(range(1, visitors + 1))

    async def one_after_another(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            await visit(session, url, number, random.Random(number))  # noqa: S311 - dice
            progress.advance(bar)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, visitors)):
            group.create_task(one_after_another(session))


async def run(options: argparse.Namespace, console: Console) -> int:
    """Run shop and crowd; show what arrived; return 0 when it is what the shop has tracked."""
    store, tally = aiotrack.LocalStore(options.store), Tally()
    client = aiotrack.Client(store, NoBots(), tally)
    runner = web.AppRunner(make_shop(client), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", options.port)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        console.print(f"The shop is open at {url}; every page it serves tracks an event.", soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            await crowd(url, options.visitors, progress)
    finally:
        await runner.cleanup()
    summary, stats = await store.summary(), client.stats()
    console.print(as_table(summary))
    total = stats.total
    counters = (
        f"accepted {total.accepted} = delivered {total.delivered} + dead {total.dead} + dropped {total.dropped} "
        f"+ pending {total.pending};  refused {sum(stats.refused.values())} (bots)"
    )
    console.print(counters, soft_wrap=True)
    stored = {line.event: line.count for line in summary}
    if stored != dict(tally.tracked) or total.delivered != sum(stored.values()):
        console.print(f"[red]What arrived is not what was tracked: {stored} and {dict(tally.tracked)}[/red]")
        return 1
    console.print(f"\nEvery event is a row of the table events in {store.path}", "Try next:", sep="\n", soft_wrap=True)
    file = shlex.quote(str(store.path))
    console.print(f"  look into it:   sqlite3 -box {file} 'SELECT * FROM events LIMIT 5'", soft_wrap=True)  # noqa: S608 - shown, not run
    console.print(f"  a larger crowd: {sys.argv[0]} demo --visitors 3000", soft_wrap=True)
    console.print("  your own:       the first program in README.md")
    return 0


def as_table(summary: list[EventSummary]) -> Table:
    """Return the store's summary as a table."""
    table = Table(title="What arrived")
    table.add_column("event")
    for column in ("count", "unique users", "revenue", "value"):
        table.add_column(column, justify="right")
    for line in summary:
        table.add_row(
            line.event,
            f"{line.count:,}",
            f"{line.unique_users:,}",
            "" if line.revenue is None else f"{line.revenue / 100:,.2f}",
            "" if line.value is None else f"{line.value:,.2f}",
        )
    return table


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected a number >= 1")
    return number


def add_command(commands: Any) -> None:
    """Add `demo` to the parser."""
    parser = commands.add_parser("demo", help="a shop, a crowd, and what was tracked of it", description=__doc__)
    parser.add_argument("--visitors", type=_positive, default=600, help="how many come (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the shop's port (default: chosen by the system)")
    parser.add_argument("--store", default=STORE, help="a new file for the events (default: %(default)s)")
    parser.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> int:
    console = Console()
    path = Path(options.store).absolute()
    if options.store == STORE:  # what an earlier demo left
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    elif path.exists():
        print(f"aiotrack demo: {path} exists already; the demo wants a new file", file=sys.stderr)
        return 1
    options.store = path
    with contextlib.suppress(KeyboardInterrupt):
        try:
            return asyncio.run(run(options, console))
        except aiotrack.errors.AiotrackError as exc:
            print(f"aiotrack demo: {exc}", file=sys.stderr)
        except OSError as exc:
            print(f"aiotrack demo: can't open the shop at port {options.port}: {exc.strerror}", file=sys.stderr)
    return 1
