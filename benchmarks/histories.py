"""Files of past purchases, to import."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path


def write_history(path: Path, rows: int, people: int, *, seed: int) -> Path:
    """Write purchases of the last twenty months, in the order of time."""
    chance = random.Random(seed)
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(days=600)
    step = timedelta(days=599) / rows
    with path.open("w") as file:
        if path.suffix == ".csv":
            file.write("event,timestamp,email,amount,currency,sku,sessionId,pageUrl\n")
        for number in range(rows):
            moment = (since + step * number).isoformat(timespec="milliseconds")
            email, amount = f"{chance.randrange(people)}@example.test", chance.randint(1, 200)
            sku, page = f"sku-{chance.randint(1, 500)}", "https://shop.example.com/checkout"
            if path.suffix == ".csv":
                file.write(f"purchase,{moment},{email},{amount},USD,{sku},sess,{page}\n")
            else:
                row = {
                    "type": "purchase",
                    "timestamp": moment,
                    "email": email,
                    "metadata": {"amount": amount, "currency": "USD", "sku": sku},
                    "sessionId": "sess",
                    "pageUrl": page,
                }
                file.write(json.dumps(row) + "\n")
    return path
