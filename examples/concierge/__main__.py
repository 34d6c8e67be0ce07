"""`python -m concierge`: serve on 127.0.0.1, port `PORT` (8090)."""

import os

import uvicorn

from concierge.app import create_app

if __name__ == "__main__":
    uvicorn.run(create_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8090")), log_level="warning")
