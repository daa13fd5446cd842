"""The pictures. Colours are told apart by colour-blind people too (Okabe and Ito), and never stand alone."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import plotly.graph_objects as go
import polars as pl

from dashboard import show
from dashboard.outline import LATITUDE, LONGITUDE
from dashboard.queries import COARSE_BANDS

SUSPECT, USUAL, HOME, ACCENT = "#D55E00", "#6B8CAE", "#009E73", "#0072B2"
_FAINT = "rgba(128,140,155,0.25)"
_LOOK = {
    "margin": {"l": 8, "r": 8, "t": 28, "b": 8},
    "hovermode": "closest",
    "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    # A refresh keeps what somebody zoomed into.
    "uirevision": "same",
    "bargap": 0.25,
}
_AXIS = {"gridcolor": _FAINT, "zerolinecolor": _FAINT}
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"], "responsive": True}


def _figure(traces: Sequence[Any], height: int, **layout: Any) -> go.Figure:
    """With the look that all have. Made in one call: each later change of a figure costs as much as the figure."""
    axes = {axis: _AXIS | layout.pop(axis, {}) for axis in ("xaxis", "yaxis")}
    return go.Figure(traces, _LOOK | {"height": height} | axes | layout)


def flow(samples: Sequence[Any], zone: str) -> go.Figure:
    """Predictions a second and what waits, over the last minutes; by the clock of the zone."""
    # Plotly draws a time as it is written, whatever zone stands behind it.
    at = [sample.at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for sample in samples]
    traces = [
        go.Scatter(
            x=at, y=[s.per_second for s in samples], name="Predictions a second", mode="lines", fill="tozeroy",
            line={"color": ACCENT, "width": 2}, fillcolor="rgba(0,114,178,0.15)",
            hovertemplate="%{y:,.0f} a second<extra></extra>",
        ),
        go.Scatter(
            x=at, y=[s.lag for s in samples], name="Waiting to be scored", mode="lines",
            line={"color": SUSPECT, "width": 2, "dash": "dot"}, hovertemplate="%{y:,.0f} waiting<extra></extra>",
        ),
    ]  # fmt: skip
    title = {"text": f"{samples[-1].at.astimezone(ZoneInfo(zone)):%Z}", "standoff": 4}
    return _figure(traces, 280, xaxis={"title": title}, yaxis={"rangemode": "tozero"}, hovermode="x unified")


def scores(bands: pl.DataFrame, threshold_band: int, number_of_bands: int) -> go.Figure:
    """How many transactions have which score; logarithmic, because nearly all have the lowest."""
    frame = bands.sort("band")
    edges = [band / number_of_bands for band in frame["band"]]
    suspect = [band >= threshold_band for band in frame["band"]]
    traces = []
    for wanted, name, colour, pattern in ((False, "Below the threshold", USUAL, ""), (True, "Suspected", SUSPECT, "/")):
        at = [i for i, s in enumerate(suspect) if s == wanted]
        traces.append(go.Bar(
            x=[edges[i] + 0.5 / number_of_bands for i in at], y=[frame["transactions"][i] for i in at],
            width=0.9 / number_of_bands, name=name, marker={"color": colour, "pattern": {"shape": pattern}},
            customdata=[[edges[i], edges[i] + 1 / number_of_bands] for i in at],
            hovertemplate="score %{customdata[0]:.2f} to %{customdata[1]:.2f}: %{y:,}<extra></extra>",
        ))  # fmt: skip
    return _figure(
        traces, 280, barmode="overlay",
        xaxis={"title": "Score", "range": [0, 1.02], "tickformat": ".1f"}, yaxis={"type": "log"},
    )  # fmt: skip


def ranking(frame: pl.DataFrame, currency: str) -> go.Figure:
    """Bars, the largest on top.

    Args:
        frame: `name`, `transactions`, `amount`, `suspected`, `suspected_amount`; the largest first.
        currency: the sign before amounts.
    """
    frame = frame.reverse()
    trace = go.Bar(
        x=frame["suspected_amount"].to_list(),
        y=[show.plain(_short(name)) for name in frame["name"]],
        orientation="h",
        marker={"color": SUSPECT},
        text=[
            " · ".join([show.money(a, currency), show.count(s), *([show.share(s, n)] if n else [])])
            for a, s, n in frame.select("suspected_amount", "suspected", "transactions").iter_rows()
        ],
        textposition="auto",
        insidetextfont={"color": "white"},
        customdata=[
            [show.plain(name), show.count(n), show.money(a, currency)]
            for name, n, a in frame.select("name", "transactions", "amount").iter_rows()
        ],
        hovertemplate="<b>%{customdata[0]}</b><br>suspected: %{text}<br>of %{customdata[1]} transactions, "
        "%{customdata[2]}<extra></extra>",
    )
    return _figure(
        [trace], 90 + 30 * frame.height, showlegend=False,
        xaxis={"title": "Suspected amount", "tickprefix": currency}, yaxis={"automargin": True, "type": "category"},
    )  # fmt: skip


def week(frame: pl.DataFrame) -> go.Figure:
    """Hour against weekday: a bubble's size is the number of suspected transactions, its colour their share.

    Args:
        frame: `weekday`, `hour`, `transactions`, `suspected`.
    """
    largest = max([*frame["suspected"].to_list(), 1])
    shares = [100 * s / n if n else 0 for s, n in frame.select("suspected", "transactions").iter_rows()]
    trace = go.Scatter(
        x=frame["hour"].to_list(),
        y=[show.WEEKDAYS[day] for day in frame["weekday"]],
        mode="markers",
        marker={
            "size": [4 + 26 * (s / largest) ** 0.5 for s in frame["suspected"]],
            "color": shares,
            "colorscale": "YlOrRd",
            "cmin": 0,
            "line": {"width": 1, "color": "rgba(90,90,90,0.6)"},
            "colorbar": {"title": {"text": "Share, %"}, "thickness": 10, "len": 0.9},
        },
        customdata=frame.select("suspected", "transactions").rows(),
        hovertemplate="%{y} %{x}:00<br>%{customdata[0]:,} of %{customdata[1]:,} suspected "
        "(%{marker.color:.2f} %)<extra></extra>",
    )
    return _figure(
        [trace], 330,
        xaxis={"title": "Hour of the day, the shop's clock", "dtick": 3, "range": [-0.7, 23.7]},
        yaxis={"categoryorder": "array", "categoryarray": list(reversed(show.WEEKDAYS))},
    )  # fmt: skip


def days(frame: pl.DataFrame, currency: str) -> go.Figure:
    """Suspected transactions per day, with their amount.

    Args:
        frame: `day`, `suspected`, `suspected_amount`, in order.
        currency: the sign before amounts.
    """
    traces = [
        go.Bar(
            x=frame["day"].to_list(), y=frame["suspected"].to_list(), name="Suspected", marker={"color": SUSPECT},
            hovertemplate="%{x}: %{y:,} suspected<extra></extra>",
        ),
        go.Scatter(
            x=frame["day"].to_list(), y=frame["suspected_amount"].to_list(), name="Their amount", yaxis="y2",
            mode="lines+markers", line={"color": ACCENT, "width": 2},
            hovertemplate=f"%{{x}}: {currency}%{{y:,.0f}}<extra></extra>",
        ),
    ]  # fmt: skip
    return _figure(
        traces, 280, hovermode="x unified",
        yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "rangemode": "tozero", "tickprefix": currency},
    )  # fmt: skip


def amounts(frame: pl.DataFrame) -> go.Figure:
    """The share of each amount band among the suspected and among all transactions.

    Args:
        frame: `label`, `suspected_share`, `all_share`, in order.
    """
    traces = []
    for column, name, colour, pattern in (
        ("all_share", "All", USUAL, ""),
        ("suspected_share", "Suspected", SUSPECT, "/"),
    ):
        traces.append(go.Bar(
            x=frame["label"].to_list(), y=frame[column].to_list(), name=name,
            marker={"color": colour, "pattern": {"shape": pattern}},
            hovertemplate="%{x}: %{y:.1f} %<extra>" + name + "</extra>",
        ))  # fmt: skip
    return _figure(traces, 280, xaxis={"title": "Amount"}, yaxis={"ticksuffix": " %"})


def places(frame: pl.DataFrame, currency: str, number: str | None = None) -> go.Figure:
    """Homes, merchants and the line between them: plain longitude and latitude, no map server.

    Args:
        frame: rows of a case's columns.
        currency: the sign before amounts.
        number: of the transaction that stands out, if one does.
    """
    traces = [
        go.Scatter(
            x=LONGITUDE, y=LATITUDE, mode="lines", line={"color": "rgba(128,140,155,0.55)", "width": 1},
            fill="toself", fillcolor="rgba(128,140,155,0.07)", hoverinfo="skip", showlegend=False,
        ),
    ]  # fmt: skip
    lines_x, lines_y = [], []
    for lon, lat, home_lon, home_lat in frame.select(
        "merchant_lon", "merchant_lat", "customer_lon", "customer_lat"
    ).iter_rows():
        lines_x += [home_lon, lon, None]
        lines_y += [home_lat, lat, None]
    traces.append(go.Scatter(
        x=lines_x, y=lines_y, mode="lines", name="Distance from home", hoverinfo="skip",
        line={"color": "rgba(213,94,0,0.45)", "width": 1.2},
    ))  # fmt: skip
    traces.append(go.Scatter(
        x=frame["customer_lon"].to_list(), y=frame["customer_lat"].to_list(), mode="markers", name="Home",
        marker={"symbol": "square", "size": 6, "color": HOME},
        text=[show.plain(city) for city in frame["customer_city"]], hovertemplate="home in %{text}<extra></extra>",
    ))  # fmt: skip
    this = pl.col("transaction_number") == (number or "")
    for part, name, colour, symbol, size in (
        (
            frame.filter(~this),
            "Merchant" if number is None else "Others",
            SUSPECT if number is None else USUAL,
            "circle",
            9,
        ),
        (frame.filter(this), "This one", SUSPECT, "star", 16),
    ):
        if not part.height:
            continue
        traces.append(go.Scatter(
            x=part["merchant_lon"].to_list(), y=part["merchant_lat"].to_list(), mode="markers", name=name,
            customdata=[
                [show.plain(_short(m)), show.money(a, currency), show.kilometres(d), f"{p:.2f}", at, when]
                for m, a, d, p, at, when in part.select(
                    "merchant", "amount", "distance_from_home", "fraud_probability", "transaction_number",
                    "transaction_date",
                ).iter_rows()
            ],
            marker={"size": size, "symbol": symbol, "color": colour, "line": {"width": 1, "color": "white"}},
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, score %{customdata[3]}<br>"
            "%{customdata[2]} from home<br>%{customdata[5]}<extra></extra>",
        ))  # fmt: skip
    xs = [v for v in lines_x if v is not None] or [-125, -66]
    ys = [v for v in lines_y if v is not None] or [24, 50]
    pad_x, pad_y = max(0.6, (max(xs) - min(xs)) * 0.06), max(0.4, (max(ys) - min(ys)) * 0.06)
    axis = {"showgrid": False, "zeroline": False, "showticklabels": False}
    return _figure(
        traces, 430,
        # One degree of longitude is about 0.77 of one of latitude at 40 degrees north.
        xaxis=axis | {"range": [min(xs) - pad_x, max(xs) + pad_x], "constrain": "domain"},
        yaxis=axis | {"range": [min(ys) - pad_y, max(ys) + pad_y], "scaleanchor": "x", "scaleratio": 1.3},
        dragmode="pan",
    )  # fmt: skip


def history(frame: pl.DataFrame, number: str, currency: str) -> go.Figure:
    """A card's transactions over time; the one that is looked at stands out.

    Args:
        frame: rows of a case's columns.
        number: of the one that is looked at.
        currency: the sign before amounts.
    """
    traces = []
    this = pl.col("transaction_number") == number
    for part, name, colour, symbol, size in (
        (frame.filter(~this), "Earlier and later", USUAL, "circle", 9),
        (frame.filter(this), "This one", SUSPECT, "star", 17),
    ):
        traces.append(go.Scatter(
            x=part["transaction_date"].to_list(), y=part["amount"].to_list(), mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 1, "color": "white"}},
            customdata=[
                [show.plain(_short(m)), show.money(a, currency), f"{p:.2f}"]
                for m, a, p in part.select("merchant", "amount", "fraud_probability").iter_rows()
            ],
            hovertemplate="<b>%{customdata[0]}</b><br>%{x}<br>%{customdata[1]}, score %{customdata[2]}<extra></extra>",
        ))  # fmt: skip
    return _figure(traces, 260, yaxis={"tickprefix": currency, "rangemode": "tozero"})


def calibration(frame: pl.DataFrame) -> go.Figure:
    """What the score says against what was true.

    Args:
        frame: `score`, `observed`, `transactions`, per band.
    """
    traces = [
        go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", name="Perfect", line={"color": USUAL, "dash": "dash"}, hoverinfo="skip",
        ),
        go.Scatter(
            x=frame["score"].to_list(), y=frame["observed"].to_list(), mode="lines+markers", name="Observed",
            line={"color": SUSPECT, "width": 2}, customdata=frame["transactions"].to_list(),
            hovertemplate="score %{x:.2f}: %{y:.0%} were fraud, of %{customdata:,}<extra></extra>",
        ),
    ]  # fmt: skip
    return _figure(
        traces, 300,
        xaxis={"title": "Score", "range": [0, 1.02]},
        yaxis={"title": "Share that was fraud", "tickformat": ".0%", "range": [0, 1.05]},
    )  # fmt: skip


def quality(frame: pl.DataFrame) -> go.Figure:
    """Precision and recall over time.

    Args:
        frame: `period`, `precision`, `recall`, `alerts`, in order.
    """
    traces: list[Any] = [
        go.Bar(
            x=frame["period"].to_list(), y=frame["alerts"].to_list(), name="Alerts", yaxis="y2",
            marker={"color": _FAINT}, hovertemplate="%{y:,} alerts<extra></extra>",
        ),
    ]  # fmt: skip
    for column, name, colour, dash in (
        ("precision", "Precision", ACCENT, "solid"),
        ("recall", "Recall", SUSPECT, "dot"),
    ):
        traces.append(go.Scatter(
            x=frame["period"].to_list(), y=frame[column].to_list(), name=name, mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash}, hovertemplate=name + " %{y:.0%}<extra></extra>",
        ))  # fmt: skip
    return _figure(
        traces, 300, hovermode="x unified",
        yaxis={"tickformat": ".0%", "range": [0, 1.05]},
        yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "title": "Alerts", "rangemode": "tozero",
                "tickformat": ",d", "tickmode": "sync"},
    )  # fmt: skip


def drift(frame: pl.DataFrame) -> go.Figure:
    """Shares of the score bands, before and in the newest days; logarithmic, because nearly all are in the lowest.

    Args:
        frame: `band`, `before`, `newest`.
    """
    traces = []
    for column, name, colour, pattern in (("before", "Before", USUAL, ""), ("newest", "Newest days", ACCENT, "/")):
        traces.append(go.Bar(
            x=[(band + 0.5) / COARSE_BANDS for band in frame["band"]], y=frame[column].to_list(), name=name,
            marker={"color": colour, "pattern": {"shape": pattern}},
            hovertemplate=name + ": %{y:.2%}<extra></extra>",
        ))  # fmt: skip
    return _figure(
        traces, 260, hovermode="x unified", xaxis={"title": "Score", "range": [0, 1.02], "tickformat": ".1f"},
        yaxis={"type": "log", "tickformat": ".2%", "dtick": 1},
    )  # fmt: skip


def anything(frame: pl.DataFrame) -> go.Figure | None:
    """A picture of a query's answer: its first text or time column against its first number; None without both."""
    numbers = [c for c, kind in frame.schema.items() if kind.is_numeric()]
    names = [c for c in frame.columns if c not in numbers] or numbers[:1]
    values = [c for c in numbers if c not in names[:1]]
    if not names or not values or frame.height < 2:
        return None
    top = frame.head(40)
    trace = go.Bar(
        x=[show.plain(_short(v)) for v in top[names[0]]],
        y=top[values[0]].to_list(),
        marker={"color": ACCENT},
        hovertemplate="%{x}: %{y:,}<extra></extra>",
    )
    return _figure(
        [trace], 340, xaxis={"title": show.plain(names[0]), "type": "category"}, yaxis={"title": show.plain(values[0])}
    )


def _short(text: object, limit: int = 34) -> str:
    """Cut; what is a card number is masked before, for the beginning of one is none."""
    text = str(show.masked(str(text)))
    return text if len(text) <= limit else text[: limit - 1] + "…"
