"""A process that appends receipts until it is killed: `python -m tests.fault.ledger_appender URL NAME …`.

The further arguments: the number to begin at, how many batches to append (0: no end), and how many receipts
to keep after each (0: all). After each batch it prints the number of the last receipt that is safe.
"""

import sys

from nexus.ledger.open import open_ledger
from tests.unit.ledger.receipts import receipt

BATCH = 10


def main(url: str, name: str, start: int, batches: int, keep: int) -> None:
    ledger = open_ledger(url)
    done = 0
    while done < batches or not batches:
        numbers = range(start + done * BATCH, start + (done + 1) * BATCH)
        ledger.append([receipt(number, trace_id=f"{name}-{number}") for number in numbers])
        sys.stdout.write(f"{numbers[-1]}\n")
        sys.stdout.flush()
        ledger.prune(keep)
        done += 1
    ledger.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
