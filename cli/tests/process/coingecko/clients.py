"""Asks a server in CoinGecko's dialect through two clients that were made for CoinGecko: the official one, and
pycoingecko. Prints the answers of each as JSON.

Usage: clients.py URL KEY FROM TO
"""

import json
import sys

import coingecko_sdk
import pycoingecko

url, key, start, end = sys.argv[1:]


def official():
    client = coingecko_sdk.Coingecko(base_url=f"{url}/api/v3", demo_api_key=key)
    plain = lambda answer: answer.model_dump(by_alias=True)
    price = client.simple.price.get(
        ids="bitcoin,ethereum,dogecoin",
        vs_currencies="usd,eur",
        include_24hr_change=True,
        include_last_updated_at=True,
        include_market_cap=True,
        include_24hr_vol=True,
        precision="full",
    )
    chart = lambda days: plain(client.coins.market_chart.get("bitcoin", vs_currency="usd", days=days))
    ohlc = lambda days: client.coins.ohlc.get("bitcoin", vs_currency="usd", days=days)
    span = {"vs_currency": "usd", "from_": start, "to": end}
    try:
        client.coins.market_chart.get("nothing", vs_currency="usd", days="1")
        unknown = None
    except coingecko_sdk.NotFoundError as error:
        unknown = error.body
    return {
        "ping": plain(client.ping.get()),
        "price": {coin: plain(quotes) for coin, quotes in price.items()},
        "currencies": client.simple.supported_vs_currencies.get(),
        "coins": [plain(coin) for coin in client.coins.list.get()],
        "charts": [chart("1"), chart("10"), chart("max")],
        "range": plain(client.coins.market_chart.get_range("bitcoin", **span)),
        "ohlc": [ohlc("1"), ohlc("7"), ohlc("max")],
        "rates": plain(client.exchange_rates.get()),
        "unknown": unknown,
    }


def popular():
    client = pycoingecko.CoinGeckoAPI(demo_api_key=key)
    client.api_base_url = f"{url}/api/v3/"
    price = client.get_price(
        ids=["bitcoin", "ethereum", "dogecoin"],
        vs_currencies=["usd", "eur"],
        include_24hr_change=True,
        include_last_updated_at=True,
        include_market_cap=True,
        include_24hr_vol=True,
    )
    chart = lambda days: client.get_coin_market_chart_by_id("bitcoin", "usd", days)
    ohlc = lambda days: client.get_coin_ohlc_by_id("bitcoin", "usd", days)
    try:
        client.get_coin_market_chart_by_id("nothing", "usd", 1)
        unknown = None
    except ValueError as error:
        unknown = error.args[0]
    return {
        "ping": client.ping(),
        "price": price,
        "currencies": client.get_supported_vs_currencies(),
        "coins": client.get_coins_list(),
        "charts": [chart(1), chart(10), chart("max")],
        "range": client.get_coin_market_chart_range_by_id("bitcoin", "usd", start, end),
        "ohlc": [ohlc(1), ohlc(7), ohlc("max")],
        "rates": client.get_exchange_rates(),
        "unknown": unknown,
    }


print(json.dumps([official(), popular()]))
