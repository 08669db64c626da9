"""What tests see of a page. Nothing here evaluates text inside it: the page's policy would refuse that."""

import time

from playwright.sync_api import Page

SETTLED = """(main => main.dataset.address === location.hash && !main.querySelector('[aria-busy=true]')
    && !!main.querySelector('.figure, h1.title, .state'))(document.querySelector('main'))"""


def until(page: Page, expression: str, seconds: float = 15) -> None:
    """Wait until an expression is true."""
    give_up = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < give_up, f"never true: {expression}"
        page.wait_for_timeout(20)


def settled(page: Page) -> Page:
    """Wait until the page shows what its address says."""
    until(page, SETTLED)
    return page


def cells(page: Page, table: str) -> list[list[str]]:
    """Return the exact values of a table: those of its `data` elements, the text of all other cells."""
    page.locator(f"table.{table} tbody tr").first.wait_for()
    found: list[list[str]] = page.evaluate(
        """name => [...document.querySelectorAll(`table.${name} tbody tr`)].map(row =>
            [...row.children].map(cell => cell.querySelector('data')?.value ?? cell.textContent))""",
        table,
    )
    return found


def values(page: Page, selector: str) -> list[str]:
    """Return the values of all `data` elements that a selector finds."""
    page.locator(selector).first.wait_for()
    found: list[str] = page.locator(selector).evaluate_all("all => all.map(each => each.value)")
    return found
