"""What a type checker must say of generated events. Never run; an ignore that is not needed is an error itself."""

from __future__ import annotations

import aiotrack

from .shop_events import Purchase, PurchaseItemsItem


async def right(user: aiotrack.UserContext) -> aiotrack.TrackResult:
    """Pass."""
    order = Purchase(revenue=5, category="shoes", items=[PurchaseItemsItem(sku="a")])
    return await order.track(user)


def wrong() -> None:
    """Fail: a wrong type, a word that is none, a missing property, a misspelt one."""
    Purchase(revenue="5", category="shoes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Purchase(revenue=5, category="boots")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Purchase(revenue=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Purchase(revenue=5, category="shoes", cuopon="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
