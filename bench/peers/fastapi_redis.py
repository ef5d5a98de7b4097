"""The usual second design: a task asks an exchange every ten seconds, and requests read the price from Redis."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager

import httpx
import redis.asyncio
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

UPSTREAM = os.environ["BENCH_UPSTREAM"]
PAIRS = ["BTC-USD"]
INTERVAL_SECONDS = 10

store = redis.asyncio.Redis(
    unix_socket_path=os.path.join(os.environ["BENCH_DIRECTORY"], "redis.sock")
)


async def poll():
    async with httpx.AsyncClient() as client:
        while True:
            for pair in PAIRS:
                symbol = pair.replace("-", "").lower()
                answer = await client.get(f"{UPSTREAM}/api/v2/ticker/{symbol}/")
                price = {
                    "pair": pair,
                    "price": answer.json()["last"],
                    "time": time.time(),
                }
                await store.set(f"price:{pair}", json.dumps(price))
            await asyncio.sleep(INTERVAL_SECONDS)


@asynccontextmanager
async def lifespan(_app):
    task = asyncio.create_task(poll())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/v1/prices/{pair}")
async def price(pair: str):
    found = await store.get(f"price:{pair}")
    if found is None:
        raise HTTPException(404)
    return JSONResponse(json.loads(found))
