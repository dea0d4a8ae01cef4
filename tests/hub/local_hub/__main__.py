"""Run the server as a program; see the package for its options."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from pathlib import Path

if not __package__:
    # Run by its folder: the package lies one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from local_hub.faults import fault_from_json
from local_hub.server import LocalHub


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="local_hub", description="A local server of the Hub's protocol.")
    parser.add_argument("--port", type=int, default=0, help="of the Hub; 0 lets the system choose")
    parser.add_argument("--folder", type=Path, required=True, help="that keeps the state")
    parser.add_argument("--token", required=True, help="with write rights")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="JSON", help='{"path": REGEX, "faults": [...]}'
    )
    parser.add_argument("--no-xet", action="store_true", help="take large files by plain LFS only")
    parser.add_argument("--log", action="store_true", help="print each request to stderr")
    options = parser.parse_args()
    hub = LocalHub(options.folder, token=options.token, port=options.port, xet=not options.no_xet)
    for text in options.fault:
        try:
            rule = json.loads(text)
            hub.fault(rule["path"], *map(fault_from_json, rule["faults"]))
        except (ValueError, KeyError, TypeError, re.error) as error:
            parser.error(f"--fault {text}: {error}")
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    with hub:
        # The client insists on Xet, whatever a server speaks, unless it is told not to.
        print(f"HF_ENDPOINT={hub.endpoint}" + options.no_xet * "\nHF_HUB_DISABLE_XET=1", flush=True)
        seen = 0
        while not end.wait(0.2):
            for request in hub.requests[seen:] if options.log else ():
                print(f"{request.to} {request.method} {request.path} {request.status}", file=sys.stderr)
                seen += 1


if __name__ == "__main__":
    main()
