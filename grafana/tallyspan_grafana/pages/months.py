"""Months: what is recorded and billed of each, what finance has closed, what is corrected since."""

from tallyspan_grafana.page import Page
from tallyspan_grafana.panels import Column, stat, table
from tallyspan_grafana.sql import months
from tallyspan_grafana.theme import DOLLARS, TEXT, TIME, thresholds

ALL = "Months are of UTC, whatever the range. Calls without a price are in no sum."
TOTALS, DEPARTMENTS, CORRECTIONS, BILLS = (
    f"{ALL} From tallyspan.{view}; times in UTC."
    for view in ("month_totals", "department_months", "month_corrections", "bills")
)
LEVELS = {"closed": "green", "reopened": "orange"}
AMOUNTS = [
    Column("recorded", "Recorded", DOLLARS, 2),
    Column("true_up", "Trued up", DOLLARS, 2),
    Column("prior", "Corrections", DOLLARS, 2),
    Column("cost", "Total", DOLLARS, 2),
]


def build(_: str = "UTC") -> Page:
    """Return the page. Months are of UTC, as bills are, in whatever zone the other pages are."""
    return (
        Page(
            "months",
            "Months",
            "What is recorded and billed of each month, what is closed, what is corrected since.",
            "UTC",
        )
        .row(
            4,
            (
                stat(
                    "Not closed yet",
                    months.OPEN,
                    f"Months that are over and open: tallyspan month close. {TOTALS}",
                    colours=thresholds(orange_from=2),
                ),
                8,
            ),
            (
                stat(
                    "Billed and not recorded",
                    months.LEFT,
                    "What bills that are kept say, less what is recorded and trued up of the same "
                    f"months: 0 where every provider is trued up. {TOTALS}",
                    unit=DOLLARS,
                    decimals=2,
                    if_null="no bill is kept: tallyspan true-up",
                ),
                8,
            ),
            (
                stat(
                    "Corrections in this month",
                    months.corrected,
                    "Booked in the running month for months that were closed before. "
                    f"{CORRECTIONS}",
                    unit=DOLLARS,
                    decimals=2,
                ),
                8,
            ),
        )
        .row(
            9,
            (
                table(
                    "Every month",
                    months.all_months,
                    "Recorded: calls, imports and commitments. Trued up: what bills have beyond "
                    "that. Corrections: of months that were closed before; in a "
                    f"closed month, what was moved out of it to stand as it was closed. {TOTALS}",
                    [
                        Column("name", "Month", TEXT, width=90),
                        Column("state", "State", TEXT, levels=LEVELS, width=100),
                        Column("version", "Version", if_null="-", width=80),
                        *AMOUNTS,
                        Column("billed", "Billed", DOLLARS, 2, "no bill"),
                        Column("closed", "Closed with", DOLLARS, 2, "-"),
                        Column("unpriced", "Unpriced calls", if_null="-"),
                        Column("since", "Since", TIME, if_null="-"),
                        Column("by", "By", TEXT),
                        Column("accepted", "Accepted", TEXT, is_wrapped=True),
                        Column("reason", "Because", TEXT, is_wrapped=True),
                    ],
                    if_null="no month with calls",
                ),
                24,
            ),
        )
        .row(
            10,
            (
                table(
                    "By department",
                    months.departments,
                    f"The same of each department. {DEPARTMENTS}",
                    [
                        Column("name", "Month", TEXT, width=90),
                        Column("department", "Department", TEXT),
                        Column("state", "State", TEXT, levels=LEVELS, width=100),
                        Column("calls", "Calls"),
                        *AMOUNTS,
                        Column("unpriced", "Unpriced calls", if_null="-"),
                    ],
                    if_null="no month with calls",
                ),
                24,
            ),
        )
        .row(
            9,
            (
                table(
                    "Corrections of closed months",
                    months.corrections,
                    "What changed in a month after it was closed, and in which month it is "
                    f"booked. {CORRECTIONS}",
                    [
                        Column("name", "Of", TEXT, width=90),
                        Column("booked", "Booked in", TEXT, width=90),
                        Column("department", "Department", TEXT),
                        Column("model", "Model", TEXT),
                        Column("user", "User", TEXT),
                        Column("cost", "Correction", DOLLARS, 4),
                        Column("at", "Since", TIME),
                    ],
                    if_null="no closed month was corrected",
                ),
                14,
            ),
            (
                table(
                    "Bills",
                    months.bills,
                    "Bills that the ledger is made equal to, by month: how many days and lines, "
                    f"and how often a day was corrected. {BILLS}",
                    [
                        Column("name", "Month", TEXT, width=90),
                        Column("bill", "Bill", TEXT),
                        Column("days", "Days"),
                        Column("count_of_lines", "Lines"),
                        Column("billed", "Billed", DOLLARS, 2),
                        Column("corrected", "Corrected"),
                        Column("source", "Read from", TEXT),
                        Column("at", "Read", TIME),
                    ],
                    if_null="no bill is kept: tallyspan true-up",
                ),
                10,
            ),
        )
    )
