"""Prints the responses that a generated client read, as JSON: probe.py URL SEQUENCE TICK FROM"""

import datetime
import json
import sys

from tickwell_client import Client
from tickwell_client.api.explanation import get_tick, list_sources
from tickwell_client.api.history import get_candles, get_gaps, get_history, get_prices_at
from tickwell_client.api.prices import convert, get_averages, get_price, list_pairs, list_prices
from tickwell_client.models import GetCandlesInterval, GetGapsCause, Problem, ProblemCode

url, sequence, tick, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
client = Client(url)
then = datetime.datetime.fromisoformat(start)

problem = get_price.sync("XXX-USD", client=client)
assert isinstance(problem, Problem) and problem.code is ProblemCode.UNKNOWN_PAIR, problem

answers = {
    "price": get_price.sync("BTC-USD", client=client, at_sequence=sequence),
    "prices": list_prices.sync(client=client, at_sequence=sequence),
    "pairs": list_pairs.sync(client=client, at_sequence=sequence),
    "averages": get_averages.sync("BTC-USD", client=client, at_sequence=sequence),
    "convert": convert.sync(client=client, from_="ETH", to="BTC", at_sequence=sequence),
    "history": get_history.sync("BTC-USD", client=client, from_=then, limit=3, at_sequence=sequence),
    "thinned": get_history.sync("BTC-USD", client=client, max_points=4, at_sequence=sequence),
    "candles": get_candles.sync("BTC-USD", client=client, interval=GetCandlesInterval.M1, at_sequence=sequence),
    "gaps": get_gaps.sync("BTC-USD", client=client, cause=GetGapsCause.MISSED, at_sequence=sequence),
    "at": get_prices_at.sync("BTC-USD", client=client, time=[then], at_sequence=sequence),
    "tick": get_tick.sync(tick, client=client, at_sequence=sequence),
    "sources": list_sources.sync(client=client, at_sequence=sequence),
}
for answer in answers.values():
    assert answer is not None and not isinstance(answer, Problem), answer
print(json.dumps({name: answer.to_dict() for name, answer in answers.items() if answer is not None}))
