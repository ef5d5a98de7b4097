"""Reads the prices in recorded responses, independently of the parsers.

Prints a JSON array of objects: the exchange, the file, the pair, the name under which the response contains the pair, and
the texts of the last trade, the best bid and the best ask. A text is missing if the response has none or zero. Numbers
are printed as they are written in the response.

Usage: recorded_prices.py DIRECTORY
"""

import json
import sys
from decimal import Decimal
from pathlib import Path


def text(value):
    """The text of a price, or None if there is none."""
    if value is None or Decimal(str(value)) == 0:
        return None
    return str(value)


def entry(exchange, file, pair, name, last=None, bid=None, ask=None):
    return {
        "exchange": exchange,
        "file": file,
        "pair": pair,
        "name": name,
        "last": text(last),
        "bid": text(bid),
        "ask": text(ask),
    }


def kraken(file, body):
    common = {
        "XXBTZUSD": "BTC-USD",
        "ZEURZUSD": "EUR-USD",
        "USDTZUSD": "USDT-USD",
        "XBTUSDT": "BTC-USDT",
        "RHEAUSD": "RHEA-USD",
    }
    for name, row in body["result"].items():
        pair = name.replace("/", "-") if "/" in name else common[name]
        if ":" not in pair:
            yield entry("kraken", file, pair, name, row["c"][0], row["b"][0], row["a"][0])


def coinbase(file, body):
    if "price" in body:
        pair = file.split("_")[1]
        yield entry("coinbase", file, pair, pair, body["price"], body["bid"], body["ask"])
    else:
        for pair, row in body.items():
            yield entry("coinbase", file, pair, pair, row["stats_24hour"]["last"])


def bitstamp(file, body):
    rows = body if isinstance(body, list) else [body]
    for row in rows:
        name = row.get("pair", "BTC/USDT")
        if not name.endswith("-PERP"):
            yield entry("bitstamp", file, name.replace("/", "-"), name, row["last"], row["bid"], row["ask"])


def gemini(file, body):
    if isinstance(body, list):
        quotes = ("USD", "BTC", "ETH", "EUR", "GBP", "SGD", "BCH", "LTC", "DAI", "FIL")
        for row in body:
            name = row["pair"]
            quote = next(quote for quote in quotes if name.endswith(quote) and name != quote)
            yield entry("gemini", file, f"{name.removesuffix(quote)}-{quote}", name, row["price"])
    else:
        yield entry("gemini", file, "BTC-USDT", "BTCUSDT", body["last"], body["bid"], body["ask"])


def bitfinex(file, body):
    for row in body:
        name = row[0]
        if name.startswith("t"):
            yield entry("bitfinex", file, f"{name[1:4]}-{name[4:]}", name, row[7], row[1], row[3])


def coingecko(file, body):
    codes = {"bitcoin": "BTC", "ethereum": "ETH", "near": "NEAR", "solana": "SOL", "usd-coin": "USDC",
             "binancecoin": "BNB", "dai": "DAI", "juno-network": "JUNO"}
    for coin, row in body.items():
        for currency in ("usd", "eur", "eth"):
            if coin in codes and currency in row:
                pair = f"{codes[coin]}-{currency.upper()}"
                yield entry("coingecko", file, pair, f"{coin}/{currency}", row[currency])


READERS = [
    ("kraken/ticker_*.json", kraken),
    ("coinbase-exchange/ticker_*.json", coinbase),
    ("coinbase-exchange/products_stats_*.json", coinbase),
    ("bitstamp/ticker_*.json", bitstamp),
    ("gemini/pricefeed_*.json", gemini),
    ("gemini/pubticker_*.json", gemini),
    ("bitfinex/tickers_*.json", bitfinex),
    ("coingecko/simple_price_*.json", coingecko),
]


def main():
    folder = Path(sys.argv[1])
    found = []
    for pattern, read in READERS:
        for path in sorted(folder.glob(pattern)):
            if path.name.endswith(".headers.json"):
                continue
            body = json.loads(path.read_text(), parse_float=str, parse_int=str)
            if isinstance(body, dict) and path.name.startswith("ticker_perpetual"):
                continue
            found.extend(read(str(path.relative_to(folder)), body))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
